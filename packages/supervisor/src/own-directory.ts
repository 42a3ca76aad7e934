/** Directories that must be nobody else's, whoever may have made them before us. */
import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs';
import { failedPrecondition } from '@gantry/errors';

/**
 * Makes a directory with this mode, or makes one that is there ours with this mode: what an earlier version, a person or an
 * attacker left wider is narrowed (CVE-2024-25621). Throws failed precondition for a link or a file in its place.
 */
export function ownDirectory(dir: string, mode: number): void {
  mkdirSync(dir, { recursive: true, mode });
  const found = lstatSync(dir);
  if (!found.isDirectory()) throw failedPrecondition(`${dir} is there and no directory`);
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  if (found.uid !== uid || found.gid !== gid) chownSync(dir, uid, gid);
  chmodSync(dir, mode);
}
