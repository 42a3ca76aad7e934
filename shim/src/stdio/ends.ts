/**
 * The shim's ends of a process's stdio files.
 *
 *   client                shim                                          container
 *   reads  stdout ◄═════ keeps it open read-write until the exit  ◄════ has its own write-only description
 *   writes stdin  ═════► keeps a write side until CloseIO          ════► has its own read-only description
 *
 * Output is not copied: the container writes into the client's fifo itself. What that asks for:
 * - No open ever waits. A fifo is opened read-write and non-blocking, which cannot block; the container's descriptor is
 *   a second open of the same file through /proc/self/fd, without O_NONBLOCK, because that flag belongs to the
 *   description and the container's programs expect a blocking one.
 * - A client that goes away and comes back costs the container no EPIPE: the shim's read side stays as long as the
 *   process lives. Nobody reading means that the fifo fills and the writer waits, as with containerd.
 * - A reader sees the end of file when the process has exited and nothing that inherited the descriptor is left: the
 *   shim lets go at the exit. A reader that is late (a fast process, a slow client) still gets everything: the shim
 *   holds the write side until somebody has opened the fifo for reading, at most `lateReaderMs`, or until Delete.
 * - stdin: while the shim holds the write side, the client may close and reopen; the process sees the end of file after
 *   CloseIO and the client's own close. The shim keeps no read side, so that a client which writes to a process that
 *   has closed its stdin gets EPIPE, as with a pipe.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { invalidArgument, wrap } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  isErrno,
  O_APPEND,
  O_CREAT,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  POLLERR,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
} from '@gantry/libc';
import type { ChannelCalls, FileCalls } from '@gantry/libc';
import type { OutputStream } from './output-stream.ts';
import type { StdioTarget, StreamName } from './target.ts';

/** The calls the ends need. */
export type EndCalls = Pick<FileCalls, 'openat' | 'close' | 'fstat' | 'fchownat'> & Pick<ChannelCalls, 'poll'>;

/** How long the write side of an output fifo waits, after the exit, for a reader that has not opened it yet. */
export const lateReaderMs = 10_000;
const firstLookMs = 2;
const maxLookMs = 250;

/** Who may own the fifo beside the client: options io_uid and io_gid. */
export interface StdioOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Opens the same file again: a new description with flags of its own. Owned by the caller. */
function reopen(sys: EndCalls, fd: number, flags: number): number {
  return sys.openat(AT_FDCWD, `/proc/self/fd/${fd}`, flags | O_NOCTTY);
}

/** One output stream. `writeFd` is for the container (or, with a terminal, for the shim's own copying). */
export class OutputEnd implements OutputStream {
  readonly writeFd: number;
  readonly #sys: EndCalls;
  #writeFdOpen = true;
  /** The read-write side of a fifo. */
  #anchor: number | undefined;
  /** The last write side, while a late reader is waited for. */
  #late: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(sys: EndCalls, writeFd: number, anchor: number | undefined) {
    this.#sys = sys;
    this.writeFd = writeFd;
    this.#anchor = anchor;
  }

  /** Opens the target; undefined when it is no file. `nonBlocking` is for a descriptor that the shim itself writes. */
  static open(
    sys: EndCalls,
    stream: StreamName,
    target: StdioTarget,
    options: { readonly nonBlocking: boolean; readonly owner?: StdioOwner },
  ): OutputEnd | undefined {
    if (target.kind === 'null' || target.kind === 'program') return undefined;
    try {
      if (target.kind === 'log') {
        mkdirSync(dirname(target.path), { recursive: true, mode: 0o755 });
        return OutputEnd.#openLog(sys, target.path);
      }
      return OutputEnd.#openExisting(sys, target.path, options);
    } catch (err) {
      throw wrap(err, `opening ${stream} "${target.path}"`);
    }
  }

  static #openLog(sys: EndCalls, path: string): OutputEnd {
    const fd = sys.openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644);
    try {
      const type = sys.fstat(fd).mode & S_IFMT;
      if (type === S_IFIFO) throw invalidArgument('a log file cannot be a fifo');
      return new OutputEnd(sys, reopen(sys, fd, O_WRONLY | O_APPEND), undefined);
    } finally {
      sys.close(fd);
    }
  }

  static #openExisting(
    sys: EndCalls,
    path: string,
    options: { readonly nonBlocking: boolean; readonly owner?: StdioOwner },
  ): OutputEnd {
    const first = openWithoutWaiting(sys, path);
    let keep = false;
    try {
      const type = sys.fstat(first).mode & S_IFMT;
      if (type === S_IFDIR) throw invalidArgument('is a directory');
      if (type !== S_IFIFO) {
        return new OutputEnd(sys, reopen(sys, first, O_WRONLY | (type === S_IFCHR ? 0 : O_APPEND)), undefined);
      }
      giveTo(sys, first, options.owner);
      const writeFd = reopen(sys, first, O_WRONLY | (options.nonBlocking ? O_NONBLOCK : 0));
      keep = true;
      return new OutputEnd(sys, writeFd, first);
    } finally {
      if (!keep) sys.close(first);
    }
  }

  /** The container's process has its copy: the shim's own is closed. Not for terminals. */
  handedOver(): void {
    if (!this.#writeFdOpen) return;
    this.#writeFdOpen = false;
    this.#sys.close(this.writeFd);
  }

  /** The process has exited: the reader gets its end of file, now or as soon as there is a reader. */
  release(): void {
    const anchor = this.#anchor;
    if (anchor === undefined) {
      this.close();
      return;
    }
    try {
      this.#late = reopen(this.#sys, anchor, O_WRONLY | O_NONBLOCK);
    } finally {
      this.#anchor = undefined;
      this.#sys.close(anchor);
      this.handedOver();
    }
    this.#closeWhenRead(firstLookMs, Date.now() + lateReaderMs);
  }

  /** Lets go of everything at once. Can be repeated. */
  close(): void {
    clearTimeout(this.#timer);
    this.handedOver();
    if (this.#anchor !== undefined) this.#sys.close(this.#anchor);
    this.#anchor = undefined;
    if (this.#late !== undefined) this.#sys.close(this.#late);
    this.#late = undefined;
  }

  /** A fifo has no signal for "a reader came"; poll(2) tells by the absence of POLLERR that there is one. */
  #closeWhenRead(waitMs: number, untilMs: number): void {
    if (this.#late === undefined) return;
    const [revents] = this.#sys.poll([{ fd: this.#late, events: 0 }], 0);
    if (((revents ?? 0) & POLLERR) === 0 || Date.now() >= untilMs) {
      this.close();
      return;
    }
    this.#timer = setTimeout(() => this.#closeWhenRead(Math.min(waitMs * 2, maxLookMs), untilMs), waitMs);
  }
}

/** The stdin stream: `readFd` for the container (or the shim's copying), a write side held until CloseIO. */
export class InputEnd {
  readonly readFd: number;
  readonly #sys: EndCalls;
  #readFdOpen = true;
  #writeSide: number | undefined;

  private constructor(sys: EndCalls, readFd: number, writeSide: number | undefined) {
    this.#sys = sys;
    this.readFd = readFd;
    this.#writeSide = writeSide;
  }

  /** Opens the target; undefined when it is nothing to read from. */
  static open(
    sys: EndCalls,
    target: StdioTarget,
    options: { readonly nonBlocking: boolean; readonly owner?: StdioOwner },
  ): InputEnd | undefined {
    if (target.kind !== 'existing') return undefined;
    try {
      return InputEnd.#open(sys, target.path, options);
    } catch (err) {
      throw wrap(err, `opening stdin "${target.path}"`);
    }
  }

  static #open(
    sys: EndCalls,
    path: string,
    options: { readonly nonBlocking: boolean; readonly owner?: StdioOwner },
  ): InputEnd {
    const first = openWithoutWaiting(sys, path);
    try {
      const type = sys.fstat(first).mode & S_IFMT;
      if (type === S_IFDIR) throw invalidArgument('is a directory');
      const flags = O_RDONLY | (options.nonBlocking ? O_NONBLOCK : 0);
      if (type !== S_IFIFO) return new InputEnd(sys, reopen(sys, first, flags), undefined);
      giveTo(sys, first, options.owner);
      const writeSide = reopen(sys, first, O_WRONLY | O_NONBLOCK);
      try {
        return new InputEnd(sys, reopen(sys, first, flags), writeSide);
      } catch (err) {
        sys.close(writeSide);
        throw err;
      }
    } finally {
      sys.close(first);
    }
  }

  handedOver(): void {
    if (!this.#readFdOpen) return;
    this.#readFdOpen = false;
    this.#sys.close(this.readFd);
  }

  /** CloseIO: from now on the end of file depends on the client alone. Can be repeated. */
  closeWriteSide(): void {
    if (this.#writeSide !== undefined) this.#sys.close(this.#writeSide);
    this.#writeSide = undefined;
  }

  /** Lets go of everything. Can be repeated. */
  close(): void {
    this.closeWriteSide();
    this.handedOver();
  }
}

/** Read-write and non-blocking: the one way to open a fifo that never waits for its other side. */
function openWithoutWaiting(sys: EndCalls, path: string): number {
  try {
    return sys.openat(AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_NOCTTY);
  } catch (err) {
    if (!isErrno(err, 'EISDIR')) throw err;
    throw invalidArgument('is a directory');
  }
}

function giveTo(sys: EndCalls, fd: number, owner: StdioOwner | undefined): void {
  if (owner !== undefined) sys.fchownat(fd, '', owner.uid, owner.gid, AT_EMPTY_PATH);
}
