/**
 * A connected socket that speaks frames; what client and server share.
 *
 * Memory is bounded in both directions. While more than `maxQueuedBytes` wait to be written, or somebody holds it, the
 * socket is not read: a peer that asks much and reads nothing stops itself.
 */
import type { Socket } from 'node:net';
import { resourceExhausted } from '@gantry/errors';
import { encodeFrame, maxDataBytes } from './frame.ts';
import type { Frame, FrameHeader } from './frame.ts';
import { FrameParser } from './frame-parser.ts';

const maxQueuedBytes = 2 * maxDataBytes;

export interface FrameSocketEvents {
  frame(frame: Frame): void;
  oversized(header: FrameHeader): void;
  /** Once, and last; `err` says why when it was not a plain close. */
  closed(err: unknown): void;
}

export class FrameSocket {
  private readonly socket: Socket;
  private readonly events: FrameSocketEvents;
  private failure: unknown = undefined;
  private holds = 0;
  private congestedHold: (() => void) | undefined;
  private drainWaiters: (() => void)[] = [];
  private gone = false;

  /** Owns `socket` from now on. */
  constructor(socket: Socket, events: FrameSocketEvents) {
    this.socket = socket;
    this.events = events;
    const parser = new FrameParser(events);
    socket.on('data', (chunk: Buffer) => this.receive(parser, chunk));
    socket.on('drain', () => this.drained());
    socket.on('error', (err) => {
      this.failure ??= err;
    });
    socket.on('close', () => this.close());
  }

  get closed(): boolean {
    return this.gone || this.socket.destroyed;
  }

  /** Sends one frame; nothing happens on a closed connection. Throws resource exhausted above the limit. */
  send(type: number, streamId: number, flags: number, data: Uint8Array): void {
    if (data.byteLength > maxDataBytes) {
      throw resourceExhausted(`message of ${data.byteLength} bytes is larger than the maximum of ${maxDataBytes}`);
    }
    if (this.closed || this.socket.writableEnded) return;
    this.socket.write(encodeFrame(type, streamId, flags, data));
    if (this.congested) this.congestedHold ??= this.hold();
  }

  /** What is sent in `sending` leaves in one write, so that the peer wakes up once. */
  together<T>(sending: () => T): T {
    this.socket.cork();
    try {
      return sending();
    } finally {
      this.socket.uncork();
    }
  }

  /** Much is waiting to be written. */
  get congested(): boolean {
    return this.socket.writableLength > maxQueuedBytes;
  }

  /** Resolves when there is room to write again, or the connection is closed. */
  async writable(): Promise<void> {
    if (this.closed || !this.socket.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      this.drainWaiters.push(resolve);
    });
  }

  /** Stops reading until the returned function is called; several holds may be open at a time. */
  hold(): () => void {
    this.holds += 1;
    this.socket.pause();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.holds -= 1;
      if (this.holds === 0 && !this.closed) this.socket.resume();
    };
  }

  /** Closes after what was sent has left. */
  end(): void {
    // A socket that is not read never sees its peer's end.
    this.socket.end(() => this.socket.destroy());
  }

  /** Closes at once. */
  destroy(err?: unknown): void {
    this.failure ??= err;
    this.socket.destroy();
  }

  private receive(parser: FrameParser, chunk: Buffer): void {
    try {
      parser.push(chunk);
    } catch (err) {
      this.destroy(err);
    }
  }

  private drained(): void {
    const waiters = this.drainWaiters;
    this.drainWaiters = [];
    for (const resolve of waiters) resolve();
    this.congestedHold?.();
    this.congestedHold = undefined;
  }

  private close(): void {
    if (this.gone) return;
    this.gone = true;
    this.drained();
    this.events.closed(this.failure);
  }
}
