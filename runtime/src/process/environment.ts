/** A process's environment: the configuration's, with HOME from the container's own user list when it has none. */
import { invalidArgument } from '@gantry/errors';
import {
  isErrno,
  O_NOCTTY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFMT,
  S_IFREG,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';

export type EnvironmentCalls = Pick<FileCalls, 'openat2' | 'fstat' | 'read' | 'close'>;

/** A user list of a container is not larger; the rest of one that is, is not looked at. */
const MAX_PASSWD_BYTES = 1024 * 1024;

/** The variables, of several of one name the last. Invalid argument for an entry without a name or without `=`. */
export function orderedEnvironment(env: readonly string[]): string[] {
  const byName = new Map<string, string>();
  for (const entry of env) {
    const equals = entry.indexOf('=');
    if (equals < 0) throw invalidArgument(`invalid environment variable: ${JSON.stringify(entry)}`);
    if (equals === 0) throw invalidArgument(`environment variable name can't be empty: ${JSON.stringify(entry)}`);
    byName.set(entry.slice(0, equals), entry);
  }
  return [...byName.values()];
}

/** Adds HOME when it is absent or empty. `root` is a descriptor of the container's root directory. */
export function withHome(sys: EnvironmentCalls, root: number, env: readonly string[], uid: number): string[] {
  if (env.some((entry) => entry.startsWith('HOME=') && entry !== 'HOME=')) return [...env];
  return [...env.filter((entry) => !entry.startsWith('HOME=')), `HOME=${homeOf(readUserList(sys, root), uid)}`];
}

/** The home directory of a user id by passwd(5); `/` for one that is not listed. */
export function homeOf(unsafePasswd: string, uid: number): string {
  for (const line of unsafePasswd.split('\n')) {
    const [, , id, , , home] = line.split(':');
    // Exactly the decimal number: "0x0", "+0" or " 0" is nobody.
    if (id !== String(uid)) continue;
    // A control character would mean something to whoever writes the value into a file.
    // oxlint-disable-next-line no-control-regex
    return home === undefined || home === '' || /[\u0000-\u001f\u007f]/.test(home) ? '/' : home;
  }
  return '/';
}

/** The text of /etc/passwd; empty when it is not there or anything but a plain file (CVE-2024-9676). */
function readUserList(sys: EnvironmentCalls, root: number): string {
  try {
    // Looked at before it is opened for reading: opening a device may have effects.
    if (!withUserList(sys, root, O_PATH, (fd) => isPlainFile(sys, fd))) return '';
    // Non-blocking: should it have become a fifo by now, the open does not wait for a writer.
    return withUserList(sys, root, O_RDONLY | O_NONBLOCK | O_NOCTTY, (fd) =>
      isPlainFile(sys, fd) ? readBounded(sys, fd) : '',
    );
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENXIO')) return '';
    throw err;
  }
}

function withUserList<T>(sys: EnvironmentCalls, root: number, flags: number, use: (fd: number) => T): T {
  const fd = sys.openat2(root, '/etc/passwd', { flags, resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS });
  try {
    return use(fd);
  } finally {
    sys.close(fd);
  }
}

function isPlainFile(sys: EnvironmentCalls, fd: number): boolean {
  return (sys.fstat(fd).mode & S_IFMT) === S_IFREG;
}

function readBounded(sys: EnvironmentCalls, fd: number): string {
  const size = Number(sys.fstat(fd).size);
  const buffer = Buffer.alloc(Math.min(size, MAX_PASSWD_BYTES));
  let length = 0;
  while (length < buffer.length) {
    const count = sys.read(fd, buffer, length) ?? 0;
    if (count === 0) break;
    length += count;
  }
  return buffer.toString('utf8', 0, length);
}
