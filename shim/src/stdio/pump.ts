/**
 * Copies from one non-blocking descriptor to another on Node's loop, with back-pressure: nothing is read while
 * something read before could not be written yet. Holds one buffer, made when the first byte comes.
 *
 *   waiting for input ──readable──► read/write until EAGAIN ──► waiting for input
 *                                     │ write: EAGAIN
 *                                     ▼
 *                                   waiting for room ──writable──► read/write …
 *
 * The source's end is a read of 0 bytes. EIO means that no process has the terminal open (pty(7)): while the process
 * lives that is looked at again with a back-off; after `finish` it is the end.
 */
import { isErrno } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';

/** Calls back each time the descriptor is ready (or in error); returns what ends the watch. */
export type Watch = (fd: number, onReady: () => void) => () => void;

export interface PumpParts {
  readonly sys: Pick<FileCalls, 'read' | 'write'>;
  readonly watchReadable: Watch;
  readonly watchWritable: Watch;
  readonly from: number;
  readonly to: number;
  readonly bufferBytes: number;
  /** Called once, when the source has ended or `finish` found nothing more; never after `stop`. */
  readonly onEnd: () => void;
  /** A write failed for another reason than lack of room; the chunk is lost, copying goes on. */
  readonly onLost: (sizeBytes: number, err: unknown) => void;
}

/** Buffers in one go before other events of the loop get their turn. */
const chunksPerTurn = 8;
const firstRetryMs = 20;
const maxRetryMs = 1000;

export class Pump {
  readonly #parts: PumpParts;
  #buffer: Buffer | undefined;
  #start = 0;
  #end = 0;
  #unwatch: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;
  #finishing = false;
  #ended = false;

  constructor(parts: PumpParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#waitForInput();
  }

  /** The source gets nothing new: copy what is there, then end. */
  finish(): void {
    if (this.#ended || this.#finishing) return;
    this.#finishing = true;
    if (this.#end === this.#start) this.#turn();
  }

  /** Ends at once. Does not close the descriptors. */
  stop(): void {
    this.#ended = true;
    this.#rest();
    this.#buffer = undefined;
  }

  #turn(): void {
    this.#rest();
    for (let chunk = 0; chunk < chunksPerTurn; chunk++) {
      if (!this.#writeOut()) {
        this.#unwatch = this.#parts.watchWritable(this.#parts.to, () => this.#turn());
        return;
      }
      const outcome = this.#readIn();
      if (outcome === 'data') continue;
      if (outcome === 'end' || this.#finishing) this.#finishNow();
      else if (outcome === 'empty') this.#waitForInput();
      else this.#lookAgain();
      return;
    }
    const next = setImmediate(() => this.#turn());
    this.#unwatch = () => clearImmediate(next);
  }

  /** False when the target has no room for all of it. */
  #writeOut(): boolean {
    const buffer = this.#buffer;
    if (buffer === undefined) return true;
    while (this.#start < this.#end) {
      try {
        const written = this.#parts.sys.write(this.#parts.to, buffer, this.#start, this.#end - this.#start);
        if (written === undefined) return false;
        this.#start += written;
      } catch (err) {
        this.#parts.onLost(this.#end - this.#start, err);
        this.#start = this.#end;
      }
    }
    return true;
  }

  /** Fills the buffer as far as it goes: a terminal gives at most 4 KiB at a time. */
  #readIn(): 'data' | 'empty' | 'end' | 'nobody' {
    this.#buffer ??= Buffer.allocUnsafeSlow(this.#parts.bufferBytes);
    this.#start = 0;
    this.#end = 0;
    const outcome = this.#fill(this.#buffer);
    if (this.#end === 0) return outcome;
    this.#retryMs = firstRetryMs;
    return 'data';
  }

  #fill(buffer: Buffer): 'empty' | 'end' | 'nobody' {
    try {
      while (this.#end < buffer.length) {
        const count = this.#parts.sys.read(this.#parts.from, buffer, this.#end, buffer.length - this.#end);
        if (count === undefined) return 'empty';
        if (count === 0) return 'end';
        this.#end += count;
      }
      return 'empty';
    } catch (err) {
      return isErrno(err, 'EIO') ? 'nobody' : 'end';
    }
  }

  #waitForInput(): void {
    this.#rest();
    this.#unwatch = this.#parts.watchReadable(this.#parts.from, () => this.#turn());
  }

  #lookAgain(): void {
    this.#timer = setTimeout(() => this.#turn(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
  }

  #rest(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#timer);
  }

  #finishNow(): void {
    this.stop();
    this.#parts.onEnd();
  }
}
