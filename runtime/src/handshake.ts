/**
 * The protocol between the caller of the runtime (parent) and the process that becomes a container's init or an exec'd
 * process (child): one SOCK_SEQPACKET pair, one JSON object a message, close-on-exec on both sides.
 *
 *   parent                                             child
 *   ──────────────────────────────────────────────────────────────────────────────────────────────────────
 *   clone ─────────────────────────────────────────►   non-dumpable, own signals, own descriptors
 *                                                      [joins a user namespace by path: clones once more with
 *                        ◄── born {pid} ────────────    CLONE_PARENT and ends; the second child goes on]
 *   [reaps the first child by its pid]
 *   [writes uid_map, gid_map of a new user namespace]
 *   mapped ────────────────────────────────────────►   [waited for it] becomes the namespace's root
 *   [makes the control group, the limits]              mounts, devices
 *                        ◄── hooks ─────────────────   [hooks of the runtime's namespaces are configured]
 *   [runs them]
 *   resume ────────────────────────────────────────►   [hooks] masked and read-only paths
 *                        ◄── console ───────────────   [terminal] the pty's master travels as a descriptor
 *   grouped ───────────────────────────────────────►   [init, v1] joins the control group as late as it can;
 *                                                      pivot_root, hostname, sysctls …
 *                        ◄── ready ─────────────────   [user namespace] set-up is done
 *   [rlimits, OOM score]
 *   proceed ───────────────────────────────────────►   [user namespace] others set rlimits and OOM score themselves
 *                                                      credentials, working directory, looks up the program
 *                        ◄── created ───────────────   [init] waits for start without a bound
 *   start ─────────────────────────────────────────►   [init]
 *                        ◄── executing ─────────────   seccomp, execve
 *                        ◄── listener ──────────────   [seccomp agent] see seccomp-agent.ts
 *   proceed ───────────────────────────────────────►   [seccomp agent]
 *                        ◄── end of file ───────────   execve succeeded: the socket was close-on-exec
 *
 * At any point the child may send `error {code, message}` and exit with status 1 instead. An end of file without
 * `executing` before it is the death of the child.
 * An exec'd process does the same without `mapped`, `grouped`, `created` and `start`.
 * Where an execve is all that can follow, the parent sleeps until the end of file and then reads what was said.
 *
 * A container that outlives its creator (the command line's) is given a listening socket: it closes the pair after
 * `created` and accepts a connection there, on which the rest of the table follows (init/start-gate.ts).
 *
 * When the parent dies, the child's next receive sees the end of file and it exits: a container that was never started
 * does not outlive its shim. When the child dies, the parent sees the end of file (or its pidfd) where it expected a
 * message. What the child sends is untrusted: it is parsed, bounded in size, and pids in it are checked by the parent.
 */
import { deadlineExceeded, errorCodes, GantryError, internal, unknown } from '@gantry/errors';
import type { ErrorCode } from '@gantry/errors';
import { isErrno, monotonicMs, POLLIN, SOCK_SEQPACKET } from '@gantry/libc';
import type { ChannelCalls, FileCalls, ReceivedMessage } from '@gantry/libc';

export type HandshakeCalls = Pick<ChannelCalls, 'sendMessage' | 'receiveMessage' | 'poll' | 'socketpair'> &
  Pick<FileCalls, 'close' | 'read'>;

/** What the child says. */
export type ChildMessage =
  | { readonly kind: 'born'; readonly pid: number }
  | { readonly kind: 'ready' | 'created' | 'executing' | 'hooks' }
  | { readonly kind: 'console' }
  | { readonly kind: 'listener'; readonly fd: number }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly message: string };

/** What the parent says. */
export type ParentMessage = 'mapped' | 'grouped' | 'resume' | 'proceed' | 'start';

/** A message's data is never longer; an error's text is cut to fit. */
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_ERROR_CHARACTERS = 4000;

const plainKinds = ['ready', 'created', 'executing', 'hooks'] as const;

/** The two ends of a new channel; each side closes the other's. */
export function openChannel(sys: HandshakeCalls): { readonly parentFd: number; readonly childFd: number } {
  const [parentFd, childFd] = sys.socketpair(SOCK_SEQPACKET);
  return { parentFd, childFd };
}

/** The child's end. */
export class ChildChannel {
  readonly #sys: HandshakeCalls;
  readonly #fd: number;

  constructor(sys: HandshakeCalls, fd: number) {
    this.#sys = sys;
    this.#fd = fd;
  }

  send(message: ChildMessage, fds: readonly number[] = []): void {
    this.#sys.sendMessage(this.#fd, Buffer.from(JSON.stringify(message)), fds);
  }

  /** Reports why the child ends. Never throws: there is nobody left to tell. */
  sendError(err: unknown): void {
    const code = err instanceof GantryError ? err.code : 'unknown';
    const message = (err instanceof Error ? err.message : String(err)).slice(0, MAX_ERROR_CHARACTERS);
    try {
      this.send({ kind: 'error', code, message });
    } catch {
      // The parent is gone or does not listen any more; the exit status says the rest.
    }
  }

  /** Waits until the parent says anything, by read(2) alone. */
  awaitAnything(): void {
    if ((this.#sys.read(this.#fd, Buffer.alloc(MAX_MESSAGE_BYTES)) ?? 0) === 0) throw internal('runtime is gone');
  }

  /** Waits for one particular message, however long it takes; throws when the parent is gone. */
  expect(wanted: ParentMessage): void {
    const received = this.#sys.receiveMessage(this.#fd, MAX_MESSAGE_BYTES)?.data.toString('latin1');
    if (received !== wanted) throw internal(`runtime is gone: expected ${wanted}, got ${JSON.stringify(received)}`);
  }
}

/** The listener of a seccomp filter: the child's number for it and, when the child sends it itself, ours, the receiver's to close. */
export interface ListenerMessage {
  readonly kind: 'listener';
  readonly fd: number;
  readonly sent?: number;
}

/** One message as the parent sees it; `eof` when the child's end is closed. */
export type Received =
  | { readonly kind: 'eof' }
  | { readonly kind: 'born'; readonly pid: number }
  | { readonly kind: 'ready' | 'created' | 'executing' | 'hooks' }
  | ListenerMessage
  | { readonly kind: 'console'; readonly master: number };

/** The parent's end; it owns the descriptor. */
export class ParentChannel {
  readonly #sys: HandshakeCalls;
  readonly #fd: number;
  #open = true;
  readonly #kept: Received[] = [];

  constructor(sys: HandshakeCalls, fd: number) {
    this.#sys = sys;
    this.#fd = fd;
  }

  /** One that was closed already: to a container that has been started. */
  static closed(sys: HandshakeCalls): ParentChannel {
    const channel = new ParentChannel(sys, -1);
    channel.#open = false;
    return channel;
  }

  /** False once it was closed: init has been started. */
  get isOpen(): boolean {
    return this.#open;
  }

  send(message: ParentMessage): void {
    try {
      this.#sys.sendMessage(this.#fd, Buffer.from(message), []);
    } catch (err) {
      // The child has ended; what it said before is still there to be received.
      if (!isErrno(err, 'EPIPE', 'ECONNRESET')) throw err;
    }
  }

  /** What has been received too early is what `receive` gives next, in this order. */
  keep(messages: readonly Received[]): void {
    this.#kept.push(...messages);
  }

  /** Sleeps until the child's end is closed, the child has ended, or the time is over; what it said is kept. */
  awaitHangUp(deadline: Deadline, pidfd: number): void {
    this.#sys.poll(
      [
        { fd: this.#fd, events: 0 },
        { fd: pidfd, events: POLLIN },
      ],
      deadline.remainingMs(),
    );
  }

  /**
   * The next message. Throws the child's error, or deadline exceeded. `pidfd` ends the wait when the child dies while
   * somebody else still holds its end open (a process made at the same moment).
   */
  receive(deadline: Deadline, pidfd: number): Received {
    const kept = this.#kept.shift();
    if (kept !== undefined) return kept;
    const [readable] = this.#sys.poll(
      [
        { fd: this.#fd, events: POLLIN },
        { fd: pidfd, events: POLLIN },
      ],
      deadline.remainingMs(),
    );
    if (readable === 0 || readable === undefined) {
      if (deadline.remainingMs() > 0) return { kind: 'eof' };
      throw deadlineExceeded('container set-up took too long');
    }
    const message = this.#receiveOne();
    if (message === undefined || message.data.length === 0) return { kind: 'eof' };
    return this.#parse(message.data, message.fds);
  }

  /**
   * A child that ends with a message of ours unread leaves an error on the socket, once; what it said before its end is
   * behind that.
   */
  #receiveOne(): ReceivedMessage | undefined {
    try {
      return this.#sys.receiveMessage(this.#fd, MAX_MESSAGE_BYTES);
    } catch (err) {
      if (!isErrno(err, 'ECONNRESET')) throw err;
      return this.#sys.receiveMessage(this.#fd, MAX_MESSAGE_BYTES);
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#sys.close(this.#fd);
  }

  #parse(unsafeData: Buffer, fds: readonly number[]): Received {
    let taken: number | undefined;
    try {
      const message = parseChildMessage(unsafeData);
      if (message.kind === 'error') throw new GantryError(message.code, message.message);
      const [master, ...others] = fds;
      if (message.kind === 'listener' && master !== undefined) {
        taken = master;
        return { ...message, sent: master };
      }
      if (message.kind !== 'console') return message;
      if (master === undefined || others.length > 0) throw internal('console message without its descriptor');
      taken = master;
      return { kind: 'console', master };
    } finally {
      for (const fd of fds) if (fd !== taken) this.#sys.close(fd);
    }
  }
}

function parseChildMessage(unsafeData: Buffer): ChildMessage {
  let unsafe: unknown;
  try {
    unsafe = JSON.parse(unsafeData.toString());
  } catch {
    throw internal('malformed message from the container process');
  }
  if (typeof unsafe !== 'object' || unsafe === null || !('kind' in unsafe)) throw internal('message without a kind');
  const kind = plainKinds.find((known) => known === unsafe.kind);
  if (kind !== undefined) return { kind };
  if (unsafe.kind === 'console') return { kind: 'console' };
  if (unsafe.kind === 'listener' && 'fd' in unsafe && Number.isSafeInteger(unsafe.fd) && Number(unsafe.fd) >= 0) {
    return { kind: 'listener', fd: Number(unsafe.fd) };
  }
  if (unsafe.kind === 'born' && 'pid' in unsafe && Number.isSafeInteger(unsafe.pid) && Number(unsafe.pid) > 0) {
    return { kind: 'born', pid: Number(unsafe.pid) };
  }
  if (unsafe.kind === 'error' && 'message' in unsafe && 'code' in unsafe) {
    const code = errorCodes.find((known) => known === unsafe.code) ?? 'unknown';
    return { kind: 'error', code, message: String(unsafe.message) };
  }
  throw unknown('unexpected message from the container process');
}

/** A point in time that several waits share. */
export class Deadline {
  readonly #at: number;

  constructor(timeoutMs: number) {
    this.#at = monotonicMs() + timeoutMs;
  }

  /** Never negative. */
  remainingMs(): number {
    return Math.max(0, this.#at - monotonicMs());
  }
}
