/**
 * Directories seen with other owners than they have: a detached, id-mapped copy of a mount (mount_setattr(2),
 * MOUNT_ATTR_IDMAP, Linux 5.12). Nothing is attached anywhere; the copy goes with its descriptor.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { AT_EMPTY_PATH, AT_FDCWD, MOUNT_ATTR_IDMAP, O_RDONLY, O_WRONLY, OPEN_TREE_CLONE } from './constants.ts';
import type { FileCalls, MountCalls } from './syscalls.ts';

/** As in /proc/PID/uid_map: ids `inside…` of the namespace are ids `outside…` of its parent, `length` of them. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly length: number;
}

/** `attributes` are set beside it (MOUNT_ATTR_…). The descriptor is the caller's. */
export function openMappedTree(
  sys: Pick<MountCalls, 'openTree' | 'mountSetattr'> & Pick<FileCalls, 'close'>,
  directory: string,
  userNamespaceFd: number,
  attributes = 0,
): number {
  const fd = sys.openTree(AT_FDCWD, directory, OPEN_TREE_CLONE);
  try {
    sys.mountSetattr(fd, '', AT_EMPTY_PATH, { set: MOUNT_ATTR_IDMAP | attributes, clear: 0, userNamespaceFd });
    return fd;
  } catch (err) {
    sys.close(fd);
    throw err;
  }
}

/**
 * A descriptor, the caller's, of a user namespace that is there for its maps only. A process with threads cannot make one
 * itself: unshare(1) does, and is gone when this resolves. Rejects with why it could not.
 */
export async function spawnMappingNamespace(
  sys: Pick<FileCalls, 'openat' | 'write' | 'close'>,
  uids: readonly IdRange[],
  gids: readonly IdRange[],
): Promise<number> {
  const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/bin:/bin` };
  // cat(1) answers from within the namespace, and ends with its input.
  const child = spawn('unshare', ['--user', 'cat'], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const said: Buffer[] = [];
  child.stderr.on('data', (bytes: Buffer) => said.push(bytes));
  child.stdin.on('error', () => undefined);
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const why = Buffer.concat(said).toString().trim();
      reject(new Error(`unshare --user: ${why === '' ? `exit status ${code}` : why}`));
    });
  });
  failed.catch(() => undefined);
  try {
    child.stdin.write('.');
    await Promise.race([once(child.stdout, 'data'), failed]);
    writeMap(sys, `/proc/${child.pid}/uid_map`, uids);
    writeMap(sys, `/proc/${child.pid}/gid_map`, gids);
    return sys.openat(AT_FDCWD, `/proc/${child.pid}/ns/user`, O_RDONLY);
  } finally {
    child.stdin.end();
    child.kill('SIGKILL');
  }
}

function writeMap(sys: Pick<FileCalls, 'openat' | 'write' | 'close'>, path: string, ranges: readonly IdRange[]): void {
  const fd = sys.openat(AT_FDCWD, path, O_WRONLY);
  try {
    sys.write(
      fd,
      Buffer.from(ranges.map(({ inside, outside, length }) => `${inside} ${outside} ${length}\n`).join('')),
    );
  } finally {
    sys.close(fd);
  }
}
