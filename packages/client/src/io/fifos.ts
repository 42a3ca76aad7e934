/**
 * The named pipes between a client and a container's process.
 *
 *   client                                       shim (or the process itself)
 *   makes a 0700 directory and the fifos
 *   opens stdout, stderr for reading (non-blocking, so without a writer)
 *   opens stdin read-write, so that the shim's open finds a peer
 *   Tasks.Create / Exec with the paths ────────► opens the fifos
 *   Tasks.Start ───────────────────────────────► process writes
 *   reopens stdin for writing only
 *   reads until end-of-file ◄─────────────────── every writer is gone
 *   removes the directory
 *
 * A client that dies leaves the pipes; the shim keeps them usable for a later `attach`. No open blocks: a blocking
 * open of a fifo would sit in a thread of Node's pool until a peer comes.
 */
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { AT_FDCWD, linux, S_IFIFO } from '@gantry/libc';

/** Where the directories of all containers' fifos are made; root's is 0711. */
export function fifoRoot(): string {
  const runtimeDir = process.env['XDG_RUNTIME_DIR'];
  const base = process.getuid?.() === 0 || runtimeDir === undefined ? '/run' : runtimeDir;
  return process.env['GANTRY_FIFO_DIR'] ?? path.join(base, 'gantry-fifo');
}

/** Which streams to make. With a terminal there is no stderr. */
export interface FifoOptions {
  readonly stdin: boolean;
  readonly terminal: boolean;
  /** Used in the directory's name only. */
  readonly id: string;
}

const pipeNames = ['stdin', 'stdout', 'stderr'] as const;

/** Paths for the wire; '' for a stream that is not there. */
export interface StdioPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The client's ends. Owned by the caller, who must call `close`. `stdout` and `stderr` end when every writer has gone;
 * they hold the process back when they are not read.
 */
export class Fifos {
  readonly paths: StdioPaths;
  readonly stdout: Socket;
  readonly stderr: Socket | undefined;
  /** Ending it closes the pipe; the process sees end-of-file after Tasks.CloseIO too. */
  stdin: Writable | undefined;
  private stdinHold: number | undefined;

  private constructor(paths: StdioPaths) {
    this.paths = paths;
    this.stdout = openForReading(paths.stdout);
    this.stderr = paths.stderr === '' ? undefined : openForReading(paths.stderr);
    if (paths.stdin !== '') this.stdinHold = openSync(paths.stdin, constants.O_RDWR | constants.O_NONBLOCK);
  }

  /** Makes the directory (0700) and the fifos in it (0600). */
  static create(options: FifoOptions): Fifos {
    const root = fifoRoot();
    mkdirSync(root, { recursive: true, mode: 0o711 });
    const directory = mkdtempSync(path.join(root, `${options.id}-`));
    try {
      const make = (name: (typeof pipeNames)[number], wanted: boolean): string => {
        if (!wanted) return '';
        const file = path.join(directory, name);
        linux.mknodat(AT_FDCWD, file, S_IFIFO | 0o600, 0n);
        return file;
      };
      return new Fifos({
        stdin: make('stdin', options.stdin),
        stdout: make('stdout', true),
        stderr: make('stderr', !options.terminal),
      });
    } catch (err) {
      removePipes(directory);
      throw err;
    }
  }

  /** Opens the fifos an earlier client made, for as long as their container keeps them. */
  static reopen(paths: StdioPaths): Fifos {
    const fifos = new Fifos(paths);
    fifos.connectStdin();
    return fifos;
  }

  /** To be called once the other side has opened stdin, that is after Tasks.Start: from now on `stdin` is there. */
  connectStdin(): void {
    if (this.stdinHold === undefined) return;
    const hold = this.stdinHold;
    this.stdinHold = undefined;
    try {
      const fd = openSync(this.paths.stdin, constants.O_WRONLY | constants.O_NONBLOCK);
      this.stdin = openForWriting(fd);
    } catch (err) {
      // ENXIO: nobody reads, the process has ended or closed its stdin already; what is written goes nowhere.
      if (!(err instanceof Error && 'code' in err && err.code === 'ENXIO')) throw err;
    } finally {
      closeSync(hold);
    }
  }

  /**
   * Waits until everything the process wrote has been read: until end-of-file, or until nothing came for `idleMs`
   * (a process that outlived its parent may hold the pipe open for ever).
   */
  async drained(idleMs: number): Promise<void> {
    await Promise.all([this.stdout, this.stderr].map((stream) => stream && ended(stream, idleMs)));
  }

  /** Closes the client's ends and removes the pipes. May be called more than once. */
  close(): void {
    this.detach();
    removeFifosOf(this.paths.stdout);
  }

  /** Closes the client's ends and leaves the pipes for another client. */
  detach(): void {
    if (this.stdinHold !== undefined) closeSync(this.stdinHold);
    this.stdinHold = undefined;
    this.stdin?.destroy();
    this.stdout.destroy();
    this.stderr?.destroy();
  }
}

/**
 * Removes the pipes that a task's stdout is one of, when they lie where this client puts such pipes: directly in a
 * directory directly below `fifoRoot()`. The path comes from a record that anybody may have written.
 */
export function removeFifosOf(unsafeStdoutPath: string): void {
  const directory = path.dirname(path.resolve(unsafeStdoutPath));
  if (path.dirname(directory) === path.resolve(fifoRoot())) removePipes(directory);
}

/** Never recursive, on purpose: the names this client makes, and the directory if nothing else is in it. */
function removePipes(directory: string): void {
  try {
    for (const name of pipeNames) rmSync(path.join(directory, name), { force: true });
    rmdirSync(directory);
  } catch {
    // Somebody else's file is in it, or it is gone already.
  }
}

function openForReading(file: string): Socket {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

function openForWriting(fd: number): Writable {
  const socket = new Socket({ fd, readable: false, writable: true });
  // EPIPE: the process closed its stdin; that is its right.
  socket.on('error', () => socket.destroy());
  socket.on('finish', () => socket.destroy());
  return socket;
}

/** Looks at the socket's counters instead of its data: the data belongs to whoever reads the stream. */
function ended(stream: Socket, idleMs: number): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    let seen = stream.bytesRead;
    const timer = setInterval(() => {
      if (stream.bytesRead === seen && stream.readableLength === 0) done();
      seen = stream.bytesRead;
    }, idleMs);
    const done = (): void => {
      clearInterval(timer);
      resolve();
    };
    stream.once('end', done);
    stream.once('close', done);
  });
}
