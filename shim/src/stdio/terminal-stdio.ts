/**
 * Stdio through a terminal: the process has the pty's slave, the shim the master, and copies.
 *
 *   stdin fifo ──► input pump ──► master        master ──► output pump ──► stdout fifo or log file
 *
 * The end of the input closes nothing: a terminal has no end of file, a client that means one sends ^D. After the exit
 * what is in the pty's buffer is still passed on, then the master is closed and the reader gets its end of file.
 */
import type { ChannelCalls, FileCalls, TerminalSize } from '@gantry/libc';
import type { ShimLog } from '../log.ts';
import { InputEnd, lateReaderMs, OutputEnd } from './ends.ts';
import type { EndCalls, StdioOwner } from './ends.ts';
import type { ChildDescriptors, ProcessStdio } from './process-stdio.ts';
import type { LoggingProgram } from './logging-program.ts';
import type { OutputStream } from './output-stream.ts';
import { Pump } from './pump.ts';
import type { Watch } from './pump.ts';
import type { StdioTargets } from './target.ts';

export type TerminalCalls = EndCalls &
  Pick<FileCalls, 'read' | 'write' | 'setNonBlocking'> &
  Pick<ChannelCalls, 'setTerminalSize'>;

export interface TerminalParts {
  readonly sys: TerminalCalls;
  readonly watchReadable: Watch;
  readonly watchWritable: Watch;
  readonly log: ShimLog;
  readonly owner?: StdioOwner;
  /** Takes the output instead of a file; ended by `close`. */
  readonly program?: LoggingProgram;
}

const outputBufferBytes = 64 * 1024;
/** The line discipline takes at most 4 KiB at a time. */
const inputBufferBytes = 4 * 1024;

export class TerminalStdio implements ProcessStdio {
  readonly childDescriptors: ChildDescriptors = { stdin: -1, stdout: -1, stderr: -1 };
  readonly #parts: TerminalParts;
  readonly #stdin: InputEnd | undefined;
  readonly #stdout: OutputStream | undefined;
  #master: number | undefined;
  #input: Pump | undefined;
  #output: Pump | undefined;
  #size: TerminalSize | undefined;
  #lostBytes = 0;
  #deadline: NodeJS.Timeout | undefined;
  #drained = false;
  readonly #drainWaiters = new Set<() => void>();

  /** Opens both files; what was opened is closed again when one fails. */
  constructor(parts: TerminalParts, targets: StdioTargets) {
    this.#parts = parts;
    const options = { nonBlocking: true, ...(parts.owner === undefined ? {} : { owner: parts.owner }) };
    try {
      this.#stdin = InputEnd.open(parts.sys, targets.stdin, options);
      this.#stdout = parts.program?.stdout ?? OutputEnd.open(parts.sys, 'stdout', targets.stdout, options);
      if (parts.program !== undefined) parts.sys.setNonBlocking(parts.program.stdout.writeFd, true);
      parts.program?.stderr.close();
    } catch (err) {
      this.close();
      throw err;
    }
  }

  processBorn(console: number | undefined): void {
    if (console === undefined) return;
    const { sys, watchReadable, watchWritable } = this.#parts;
    this.#master = console;
    sys.setNonBlocking(console, true);
    if (this.#size !== undefined) sys.setTerminalSize(console, this.#size);
    this.#startOutput(console);
    if (this.#stdin === undefined) return;
    this.#input = new Pump({
      sys,
      watchReadable,
      watchWritable,
      from: this.#stdin.readFd,
      to: console,
      bufferBytes: inputBufferBytes,
      onEnd: () => this.#stdin?.close(),
      onLost: () => {
        // Nobody has the terminal open: typed characters go nowhere, as on a real one.
      },
    });
    this.#input.start();
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    if (this.#master !== undefined) this.#parts.sys.setTerminalSize(this.#master, size);
  }

  closeStdin(): void {
    this.#stdin?.closeWriteSide();
  }

  processExited(): void {
    this.#input?.stop();
    this.#stdin?.close();
    if (this.#output === undefined) {
      this.#finished();
      return;
    }
    this.#deadline = setTimeout(() => this.#finished(), lateReaderMs);
    this.#output.finish();
  }

  async drained(timeoutMs: number): Promise<void> {
    if (this.#drained || this.#output === undefined) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#drainWaiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#drainWaiters.add(done);
    });
  }

  close(): void {
    this.#finished();
    this.#stdout?.close();
    this.#parts.program?.stop();
  }

  #startOutput(master: number): void {
    const { sys, watchReadable, watchWritable } = this.#parts;
    this.#output = new Pump({
      sys: this.#stdout === undefined ? { read: sys.read.bind(sys), write: swallow } : sys,
      watchReadable,
      watchWritable,
      from: master,
      to: this.#stdout?.writeFd ?? -1,
      bufferBytes: outputBufferBytes,
      onEnd: () => this.#finished(),
      onLost: (sizeBytes, err) => this.#lost(sizeBytes, err),
    });
    this.#output.start();
  }

  /** Copying is over: descriptors go, readers get their end of file. */
  #finished(): void {
    clearTimeout(this.#deadline);
    this.#input?.stop();
    this.#output?.stop();
    this.#stdin?.close();
    if (this.#master !== undefined) this.#parts.sys.close(this.#master);
    this.#master = undefined;
    if (!this.#drained) this.#stdout?.release();
    this.#drained = true;
    for (const done of this.#drainWaiters) done();
  }

  #lost(sizeBytes: number, err: unknown): void {
    if (this.#lostBytes === 0) this.#parts.log.warn('terminal output is lost', { error: String(err) });
    this.#lostBytes += sizeBytes;
  }
}

/** A terminal whose stdout is the null device is still read, so that the process does not block on it. */
function swallow(_fd: number, from: Buffer, offset = 0, length = from.length - offset): number {
  return length;
}
