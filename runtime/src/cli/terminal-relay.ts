/** Between our own terminal (or whatever our standard descriptors are) and the master of a process's terminal. */
import { isErrno, linux, POLLOUT, watchReadable } from '@gantry/libc';

const CHUNK_BYTES = 64 * 1024;

export class TerminalRelay {
  readonly #master: number;
  readonly #isTerminal: boolean;
  readonly #before: Buffer | undefined;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #stopInput: (() => void) | undefined;
  #stopOutput: (() => void) | undefined;

  /** Takes the master over and puts our terminal into raw mode until `close`. */
  constructor(master: number) {
    this.#master = master;
    this.#isTerminal = linux.isTerminal(0);
    this.resize();
    this.#before = this.#isTerminal ? linux.makeRaw(0) : undefined;
    this.#stopOutput = watchReadable(master, () => this.#output());
    try {
      this.#stopInput = watchReadable(0, () => this.#input());
    } catch (err) {
      // A plain file or nothing at all as standard input cannot be waited for.
      if (!isErrno(err, 'EPERM', 'EBADF')) throw err;
    }
  }

  /** Gives the process's terminal the size of ours. */
  resize(): void {
    if (this.#isTerminal) linux.setTerminalSize(this.#master, linux.getTerminalSize(0));
  }

  #input(): void {
    const length = readOrEnd(0, this.#chunk);
    if (length === undefined) return;
    if (length === 0) {
      this.#stopInput?.();
      this.#stopInput = undefined;
      return;
    }
    writeAll(this.#master, this.#chunk.subarray(0, length));
  }

  /** False at the end. */
  #output(): boolean {
    const length = readOrEnd(this.#master, this.#chunk);
    if (length === undefined) return true;
    if (length === 0) {
      this.#stopOutput?.();
      this.#stopOutput = undefined;
      return false;
    }
    writeAll(1, this.#chunk.subarray(0, length));
    return true;
  }

  /** Passes on what the process has left behind, and gives our terminal back. */
  close(): void {
    this.#stopInput?.();
    const output = this.#stopOutput;
    if (output !== undefined) {
      linux.setNonBlocking(this.#master, true);
      while (this.#hasMore() && this.#output());
      this.#stopOutput?.();
    }
    linux.close(this.#master);
    if (this.#before !== undefined) linux.restoreTerminal(0, this.#before);
  }

  #hasMore(): boolean {
    const [ready = 0] = linux.poll([{ fd: this.#master, events: 1 }], 0);
    return (ready & 1) !== 0;
  }
}

/** 0 at the end, which a terminal without a process on its other side says by EIO; undefined when there is nothing. */
function readOrEnd(fd: number, into: Buffer): number | undefined {
  try {
    return linux.read(fd, into);
  } catch (err) {
    if (isErrno(err, 'EIO')) return 0;
    throw err;
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) {
    try {
      const written = linux.write(fd, bytes, done);
      if (written === undefined) linux.poll([{ fd, events: POLLOUT }], -1);
      else done += written;
    } catch (err) {
      // Whoever would have read it is gone.
      if (isErrno(err, 'EIO', 'EPIPE')) return;
      throw err;
    }
  }
}
