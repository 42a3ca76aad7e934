/**
 * A connection to a D-Bus peer, synchronous like the runtime that waits for it: one call at a time, signals kept until they
 * are asked for.
 */
import { deadlineExceeded, GantryError, unavailable, wrap } from '@gantry/errors';
import { monotonicMs, POLLIN, POLLOUT } from '@gantry/libc';
import type { CgroupCalls } from '../hierarchy.ts';
import { decodeMessage, encodeMessage, messageKind, messageLength } from './wire.ts';
import type { BusValue, Message } from './wire.ts';

export type BusCalls = Pick<CgroupCalls, 'close' | 'connectUnix' | 'poll' | 'read' | 'write'>;

const CALL_TIMEOUT_MS = 30_000;
const CHUNK_BYTES = 64 * 1024;

/** What a method answered instead of a result. */
export class BusError extends Error {
  override readonly name = 'BusError';
  /** For instance `org.freedesktop.systemd1.UnitExists`. */
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message === '' ? errorName : message);
    this.errorName = errorName;
  }
}

export interface Call {
  readonly destination?: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly BusValue[];
}

export class Bus {
  readonly #sys: BusCalls;
  readonly #fd: number;
  readonly #signals: Message[] = [];
  #received = Buffer.alloc(0);
  #serial = 0;

  private constructor(sys: BusCalls, fd: number) {
    this.#sys = sys;
    this.#fd = fd;
  }

  /** Connects to the socket and says who we are (SASL EXTERNAL); `uid` as the other side knows it. Unavailable when that fails. */
  static connect(sys: BusCalls, socketPath: string, uid: number): Bus {
    let bus: Bus | undefined;
    try {
      bus = new Bus(sys, sys.connectUnix(socketPath));
      bus.#authenticate(uid);
      return bus;
    } catch (err) {
      bus?.close();
      throw wrap(err, `D-Bus at ${socketPath}`, 'unavailable');
    }
  }

  close(): void {
    this.#sys.close(this.#fd);
  }

  /**
   * BEGIN goes with the request, as systemd's own clients send it, and no message before the answer: a server that finds a
   * message behind BEGIN in what it has read takes it up when the next one comes, and nothing comes before its reply.
   */
  #authenticate(uid: number): void {
    const identity = Buffer.from(String(uid)).toString('hex');
    const until = monotonicMs() + CALL_TIMEOUT_MS;
    this.#send(Buffer.from(`\0AUTH EXTERNAL ${identity}\r\nBEGIN\r\n`), until);
    while (!this.#received.includes('\r\n')) this.#receive(until);
    const end = this.#received.indexOf('\r\n') + 2;
    const answer = this.#received.toString('latin1', 0, end).trim();
    this.#received = this.#received.subarray(end);
    if (!answer.startsWith('OK ')) throw unavailable(`authentication refused: ${answer}`);
  }

  /** The values of the reply. Throws BusError for an error reply, deadline exceeded after half a minute. */
  call({ destination, path, interface: iface, member, signature = '', body = [] }: Call): readonly BusValue[] {
    const serial = ++this.#serial;
    const until = monotonicMs() + CALL_TIMEOUT_MS;
    const fields = { path, interface: iface, member, ...(destination === undefined ? {} : { destination }) };
    this.#send(encodeMessage({ kind: messageKind.call, serial, fields, body }, signature), until);
    for (;;) {
      const message = this.#next(until);
      if (message.kind === messageKind.signal) this.#signals.push(message);
      if (message.fields.replySerial !== serial) continue;
      if (message.kind === messageKind.reply) return message.body;
      if (message.kind === messageKind.error) {
        throw new BusError(String(message.fields.errorName), String(message.body[0] ?? ''));
      }
    }
  }

  /** The values of the first signal of that name for which `wanted` holds, those that have come already included. */
  signal(member: string, wanted: (body: readonly BusValue[]) => boolean): readonly BusValue[] {
    const until = monotonicMs() + CALL_TIMEOUT_MS;
    for (;;) {
      const message = this.#signals.shift() ?? this.#next(until);
      if (message.kind === messageKind.signal && message.fields.member === member && wanted(message.body)) {
        return message.body;
      }
    }
  }

  #next(until: number): Message {
    for (;;) {
      const length = messageLength(this.#received);
      if (length !== undefined && this.#received.length >= length) {
        const message = decodeMessage(Buffer.from(this.#received.subarray(0, length)));
        this.#received = this.#received.subarray(length);
        return message;
      }
      this.#receive(until);
    }
  }

  #receive(until: number): void {
    this.#await(POLLIN, until);
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const length = this.#sys.read(this.#fd, chunk);
    if (length === 0) throw unavailable('D-Bus connection closed');
    if (length !== undefined) this.#received = Buffer.concat([this.#received, chunk.subarray(0, length)]);
  }

  #send(bytes: Buffer, until: number): void {
    for (let done = 0; done < bytes.length;) {
      this.#await(POLLOUT, until);
      done += this.#sys.write(this.#fd, bytes, done) ?? 0;
    }
  }

  #await(events: number, until: number): void {
    for (;;) {
      const left = until - monotonicMs();
      if (left <= 0) throw deadlineExceeded('D-Bus: no answer');
      if ((this.#sys.poll([{ fd: this.#fd, events }], left)[0] ?? 0) !== 0) return;
    }
  }
}

/** Whether an error is the answer of that name. */
export function isBusError(err: unknown, ...names: readonly string[]): boolean {
  const cause = err instanceof GantryError ? err.cause : err;
  return cause instanceof BusError && names.some((name) => cause.errorName.endsWith(`.${name}`));
}
