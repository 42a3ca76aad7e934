/** One supervisor per root: a lock file that names its holder by pid and start time, so that a crash never leaves it held. */
import { readFile, rename, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { alreadyExists } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { formatIdentity, identify, isAlive, parseIdentity } from './shims/process-identity.ts';

/** Takes the lock; the returned function gives it back. Throws already exists when a living process holds it. */
export async function acquireLock(root: string): Promise<() => Promise<void>> {
  const file = path.join(root, 'gantryd.lock');
  const holder = await readHolder(file);
  if (holder !== undefined && holder.pid !== process.pid && isAlive(holder)) {
    throw alreadyExists(`a gantryd (pid ${holder.pid}) works on ${root}`, { pid: holder.pid });
  }
  const own = identify(process.pid);
  if (own === undefined) throw alreadyExists(`no /proc entry of pid ${process.pid}: is /proc mounted?`);
  await writeFile(`${file}.${own.pid}`, formatIdentity(own), { mode: 0o600 });
  await rename(`${file}.${own.pid}`, file);
  return () => unlink(file);
}

async function readHolder(file: string): Promise<ReturnType<typeof parseIdentity>> {
  try {
    return parseIdentity(await readFile(file, 'utf8'));
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return undefined;
    throw err;
  }
}
