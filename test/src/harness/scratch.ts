/** A test's own corner of the machine: a short temporary directory and a namespace name nobody else uses. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { erofsUnusable } from '@gantry/snapshots';

/** The root of the checkout, seen from the compiled test. */
export const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** A new directory below /tmp, 0700; short, because socket paths have at most 107 bytes. */
export function scratchDirectory(): string {
  return mkdtempSync('/tmp/gt-');
}

/** Removes a scratch directory; the caller has unmounted what it mounted there. */
export function removeScratch(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

/** A containerd namespace name of 10 characters; it is also the top of the cgroup path of ctr's containers. */
export function scratchNamespace(letter = 'a'): string {
  return `gt${letter}${randomBytes(4).toString('hex').slice(0, 7)}`;
}

/** The reason why erofs layers cannot be made and mounted here; undefined when they can. */
export async function erofsMissingHere(): Promise<string | undefined> {
  const reason = missing('mkfs.erofs', 'mount');
  if (reason !== undefined) return reason;
  const dir = scratchDirectory();
  try {
    return await erofsUnusable(dir);
  } finally {
    removeScratch(dir);
  }
}

/** The reason why a test that needs root and these commands cannot run here; undefined when it can. */
export function missing(...commands: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const dirs = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  const absent = commands.filter((name) => !dirs.some((dir) => existsSync(path.join(dir, name))));
  return absent.length === 0 ? undefined : `needs the command ${absent.join(', ')}`;
}
