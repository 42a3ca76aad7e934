/** Descriptors that go into the container: those of socket activation (sd_listen_fds(3)), then `--preserve-fds`. */
import { invalidArgument } from '@gantry/errors';
import { eventLoopDescriptors, isErrno, linux } from '@gantry/libc';

const MOST_LISTEN_FDS = 10_000;

export interface Preserved {
  /** How many, from 3 on. */
  readonly count: number;
  /** What the process is told about them. */
  readonly env: readonly string[];
}

/** Invalid argument when one of them is not open. */
export function preservedDescriptors(extra: number): Preserved {
  if (extra < 0) throw invalidArgument(`invalid number of descriptors to preserve: ${extra}`);
  const listening = listenFds();
  for (let fd = 3; fd < 3 + listening + extra; fd++) checkOpen(fd, extra);
  const env = listening === 0 ? [] : [`LISTEN_FDS=${listening}`, 'LISTEN_PID=1'];
  return { count: listening + extra, env };
}

function listenFds(): number {
  const text = process.env['LISTEN_FDS'] ?? '';
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  return count > MOST_LISTEN_FDS ? 0 : count;
}

function checkOpen(fd: number, extra: number): void {
  if (!isInherited(fd)) throw invalidArgument(`please check that preserved-fd ${fd} (of ${extra}) exists`);
}

/** Open, and not Node's own: its descriptors have the first numbers that were free when it started. */
function isInherited(fd: number): boolean {
  try {
    linux.fstat(fd);
    return !eventLoopDescriptors().includes(fd);
  } catch (err) {
    if (!isErrno(err, 'EBADF')) throw err;
    return false;
  }
}

/**
 * Node marks what it inherits close-on-exec. Takes that back for the standard descriptors and for what `words` say is to
 * be preserved, before the program is executed once more.
 */
export function keepOverExec(words: readonly string[]): void {
  const at = words.findIndex((word) => /^--?preserve-fds(?:=|$)/.test(word));
  const text = /=(.*)$/s.exec(words[at] ?? '')?.[1] ?? words[at + 1] ?? '';
  const extra = at >= 0 && /^\d{1,6}$/.test(text) ? Number(text) : 0;
  for (const fd of [0, 1, 2]) linux.setCloseOnExec(fd, false);
  for (let fd = 3; fd < 3 + listenFds() + extra; fd++) if (isInherited(fd)) linux.setCloseOnExec(fd, false);
}
