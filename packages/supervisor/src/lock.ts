/**
 * One supervisor per root: a lock file that names its holder by pid, start time and boot, so that a crash never leaves it
 * held. It comes to be by link(2), which fails when it is there: of two that start at once one gets it.
 */
import { link, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { alreadyExists, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { formatIdentity, identify, isAlive, parseIdentity } from './shims/process-identity.ts';

/** How often a lock that changes hands under our eyes is tried again. */
const attempts = 5;

/** Takes the lock; the returned function gives it back. Throws already exists when a living process holds it. */
export async function acquireLock(root: string): Promise<() => Promise<void>> {
  const file = path.join(root, 'gantryd.lock');
  const own = identify(process.pid);
  if (own === undefined) throw alreadyExists(`no /proc entry of pid ${process.pid}: is /proc mounted?`);
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const mine = `${file}.${own.pid}`;
  try {
    await writeOwn(mine, formatIdentity(own) + bootId, { file, bootId });
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      if (await linked(mine, file)) return () => unlink(file);
      const holder = await livingHolder(file, bootId);
      if (holder !== undefined) throw alreadyExists(`a gantryd (pid ${holder}) works on ${root}`, { pid: holder });
      await setAside(file, `${mine}.stale`, bootId);
    }
    throw alreadyExists(`the lock ${file} keeps changing hands`);
  } finally {
    await rm(mine, { force: true });
  }
}

/** On a full disk the room of a lock that nobody holds is all there is: who was killed there must be able to start. */
async function writeOwn(mine: string, text: string, lock: { file: string; bootId: string }): Promise<void> {
  try {
    await writeFile(mine, text, { mode: 0o600 }).catch(async (err: unknown) => {
      if (!isErrno(err, 'ENOSPC', 'EDQUOT') || (await livingHolder(lock.file, lock.bootId)) !== undefined) throw err;
      await setAside(lock.file, `${mine}.stale`, lock.bootId);
      await writeFile(mine, text, { mode: 0o600 });
    });
  } catch (err) {
    throw wrap(err, `writing ${mine}`);
  }
}

/** The pid of the process that holds the lock; undefined when there is none, in this boot, any more. */
async function livingHolder(file: string, bootId: string): Promise<number | undefined> {
  const [identity = '', boot = ''] = (await readOrEmpty(file)).split(/(?<=\n)/);
  const holder = parseIdentity(identity);
  return holder !== undefined && boot === bootId && isAlive(holder) ? holder.pid : undefined;
}

/** Takes a stale lock away. Should somebody have taken the lock since it was looked at, he gets it back. */
async function setAside(file: string, aside: string, bootId: string): Promise<void> {
  try {
    await rename(file, aside);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return;
    throw err;
  }
  if ((await livingHolder(aside, bootId)) !== undefined) await linked(aside, file);
  await unlink(aside);
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (err) {
    if (isErrno(err, 'EEXIST')) return false;
    throw err;
  }
}

async function readOrEmpty(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return '';
    throw err;
  }
}
