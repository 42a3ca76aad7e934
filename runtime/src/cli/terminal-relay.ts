/**
 * Between our own standard input and output and the master of a process's terminal, when we stay with the process.
 *
 * Neither direction waits for the other: a program that prints and does not read stops the input, not the output. Nothing
 * here blocks before the process has ended, so that signals are passed on meanwhile.
 */
import { openSync, readFileSync } from 'node:fs';
import { failedPrecondition } from '@gantry/errors';
import { errnoDescription, isErrno, linux, POLLIN, POLLOUT, watchReadable, watchWritable } from '@gantry/libc';
import type { Process } from '@gantry/oci';

const CHUNK_BYTES = 64 * 1024;
/** More than the kernel keeps for a terminal. */
const MOST_CHUNKS_AT_THE_END = 256;
const O_NONBLOCK = 0o4000;

/**
 * The terminal the caller sits at: one of the standard descriptors or, when all are redirected, the controlling terminal.
 * Without any there would be nobody to use the process's terminal: an error, in runc's words. The descriptor is closed at
 * the next execve(2).
 */
export function hostTerminal(): number {
  const own = [2, 1, 0].find((fd) => linux.isTerminal(fd));
  if (own !== undefined) return own;
  try {
    return openSync('/dev/tty', 'r+');
  } catch (err) {
    const { errno = 0 } = err as NodeJS.ErrnoException;
    throw failedPrecondition(`open /dev/tty: ${errnoDescription(-errno)}`);
  }
}

/** The process with a terminal as large as the host's, from its first look at it on. */
export function sizedLike(host: number, process: Process): Process {
  const { columns, rows } = linux.getTerminalSize(host);
  return columns === 0 || rows === 0 ? process : { ...process, consoleSize: { width: columns, height: rows } };
}

export class TerminalRelay {
  readonly #master: number;
  readonly #terminal: number;
  readonly #before: Buffer;
  readonly #blocking: readonly number[];
  readonly #input: Flow;
  readonly #output: Flow;

  /** Takes the master over and puts `terminal` into raw mode until `close`. */
  constructor(master: number, terminal: number) {
    this.#master = master;
    this.#terminal = terminal;
    this.resize();
    this.#before = linux.makeRaw(terminal);
    // The caller's descriptors are shared with the caller.
    this.#blocking = [0, 1].filter(isBlocking);
    linux.setNonBlocking(master, true);
    this.#output = new Flow(master, 1);
    this.#input = new Flow(0, master);
  }

  /** Gives the process's terminal the size of ours. */
  resize(): void {
    linux.setTerminalSize(this.#master, linux.getTerminalSize(this.#terminal));
  }

  /** Passes on what the process has left behind, and gives our terminal back. */
  close(): void {
    this.#input.end();
    this.#output.finish();
    linux.close(this.#master);
    for (const fd of this.#blocking) linux.setNonBlocking(fd, false);
    linux.restoreTerminal(this.#terminal, this.#before);
  }
}

/** One direction, with at most one chunk under way. */
class Flow {
  readonly #source: number;
  readonly #sink: number;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #pending = this.#chunk.subarray(0, 0);
  #waitsFor: 'source' | 'sink' | undefined;
  #stopWaiting: () => void = () => undefined;
  #ended = false;

  constructor(source: number, sink: number) {
    this.#source = source;
    this.#sink = sink;
    this.#wait('source');
  }

  end(): void {
    this.#ended = true;
    this.#stopWaiting();
  }

  /** Passes on what there is to be read at once, however long the other side takes. */
  finish(): void {
    const ended = this.#ended;
    this.end();
    if (ended) return;
    // Somebody left behind may go on printing.
    for (let chunks = 0; chunks < MOST_CHUNKS_AT_THE_END; chunks++) {
      while (this.#pending.length > 0 && this.#write()) linux.poll([{ fd: this.#sink, events: POLLOUT }], -1);
      const [ready = 0] = linux.poll([{ fd: this.#source, events: POLLIN }], 0);
      if ((ready & POLLIN) === 0 || !this.#read() || this.#pending.length === 0) return;
    }
  }

  #wait(side: 'source' | 'sink'): void {
    if (this.#ended || this.#waitsFor === side) return;
    this.#stopWaiting();
    this.#waitsFor = side;
    const step = (): void => this.#step();
    try {
      this.#stopWaiting = side === 'source' ? watchReadable(this.#source, step) : watchWritable(this.#sink, step);
    } catch (err) {
      // A plain file cannot be waited for: it is always ready.
      if (!isErrno(err, 'EPERM', 'EBADF')) throw err;
      const soon = setImmediate(() => {
        this.#waitsFor = undefined;
        step();
      });
      this.#stopWaiting = () => clearImmediate(soon);
    }
  }

  #step(): void {
    const more = this.#pending.length > 0 || this.#read();
    if (!more || (this.#pending.length > 0 && !this.#write())) this.end();
    else this.#wait(this.#pending.length > 0 ? 'sink' : 'source');
  }

  /** False at the end, which a terminal without a process on its other side says by EIO. */
  #read(): boolean {
    try {
      const length = linux.read(this.#source, this.#chunk);
      if (length !== undefined) this.#pending = this.#chunk.subarray(0, length);
      return length !== 0;
    } catch (err) {
      if (isErrno(err, 'EIO', 'EBADF')) return false;
      throw err;
    }
  }

  /** False when whoever would have read it is gone. */
  #write(): boolean {
    try {
      const written = linux.write(this.#sink, this.#pending, 0);
      this.#pending = this.#pending.subarray(written ?? 0);
      return true;
    } catch (err) {
      if (isErrno(err, 'EIO', 'EPIPE', 'EBADF')) return false;
      throw err;
    }
  }
}

function isBlocking(fd: number): boolean {
  const [, flags = '0'] = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
  return (Number.parseInt(flags, 8) & O_NONBLOCK) === 0;
}
