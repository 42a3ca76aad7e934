/** Where the output of containers in the background is kept. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { logPathLabel } from './labels.ts';

/** GANTRY_LOG_DIR, else /var/log/gantry (root) or the user's state directory. */
export function logDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const own = env['GANTRY_LOG_DIR'];
  if (own !== undefined && own !== '') return own;
  if (process.getuid?.() === 0) return '/var/log/gantry';
  return path.join(env['XDG_STATE_HOME'] ?? path.join(env['HOME'] ?? '/tmp', '.local/state'), 'gantry');
}

export function logFileOf(namespace: string, id: string): string {
  return path.join(logDirectory(), namespace, `${id}.log`);
}

/** Removes a container's log file when it lies where this command puts such files. */
export function removeLogFile(labels: Readonly<Record<string, string>>): void {
  const file = labels[logPathLabel];
  if (file === undefined) return;
  const resolved = path.resolve(file);
  if (resolved.startsWith(`${path.resolve(logDirectory())}${path.sep}`)) rmSync(resolved, { force: true });
}
