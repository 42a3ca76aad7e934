/**
 * A criu process that works for one request, as runc has it too: `criu swrk FD`.
 *
 *   we                                             criu
 *                                            ◄───  (the process that becomes it) our end of the socket
 *   request                                  ───►  dumps, restores …
 *                                            ◄───  notification, sometimes with a descriptor; it waits
 *   what it asks for is done; "success"      ───►
 *                                            ◄───  response; it ends
 *
 * The protocol's messages travel on a SOCK_SEQPACKET socket. Whoever made that is who the descriptors in a request belong
 * to (criu opens /proc/PID/fd/N of its peer), which has to be a process in the mount namespace that criu is in: its own,
 * before it was criu. criu's standard error is read beside it, because what goes
 * wrong before its log is open is said there only. When criu dies, its end of the socket closes and we hear of it; when
 * we die, it finds the same and ends.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { deadlineExceeded, failedPrecondition, messageOf, unknown } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { AT_FDCWD, CLOSE_RANGE_CLOEXEC, isErrno, O_RDONLY, POLLIN, SIGKILL, SOCK_SEQPACKET } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Deadline } from '../handshake.ts';
import { errorsIn, errorsOf } from './log.ts';
import { decodeResponse, encodeRequest, typeName } from './messages.ts';
import type { CriuRequest, CriuResponse } from './messages.ts';

const LAST_FD = 0xffff_ffff;
/** criu sends no longer message. */
const MAX_MESSAGE_BYTES = 40_960;
const MAX_STDERR_BYTES = 8192;
/** After its answer criu has nothing left to do. */
const END_TIMEOUT_MS = 10_000;

/** Where criu looks for the programs that it calls when nobody says otherwise. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface CriuProcess {
  /** Absolute path. */
  readonly program: string;
  /** Its standard input, for `shell_job`; -1 is /dev/null. */
  readonly stdin: number;
  /** Descriptors that stay open in it under their numbers. */
  readonly inherited: readonly number[];
  /** Of a directory of cgroup v2 that it is born in. */
  readonly cgroupFd?: number | undefined;
  /** Runs in the new process before it becomes criu. */
  readonly prepare?: () => void;
}

/** A step that criu tells of; the descriptors are closed when the handler returns, unless it takes them. */
export type NotificationHandler = (script: string, pid: number, fds: number[]) => void;

/** The absolute path of criu. Throws failed precondition when there is none. */
export function findCriu(name: string | undefined): string {
  const wanted = name === undefined || name === '' ? 'criu' : name;
  const path = process.env['PATH'] ?? defaultPath;
  const directories = path.split(':').filter((directory) => directory.startsWith('/'));
  const candidates = wanted.includes('/') ? [wanted] : directories.map((directory) => join(directory, wanted));
  const found = candidates.find((file) => isProgram(file));
  if (found !== undefined) return found;
  const where = wanted.includes('/') ? 'no such program' : 'executable file not found in $PATH';
  throw failedPrecondition(`criu, which makes and restores checkpoints: "${wanted}": ${where}`);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

export class CriuSession implements Disposable {
  readonly #sys: Syscalls;
  readonly pid: number;
  readonly #pidfd: number;
  readonly #socket: number | undefined;
  #stderr: number;
  #said = Buffer.alloc(0);
  #ended = false;

  /** `socket` is undefined when the process ended before there was one. */
  private constructor(sys: Syscalls, pid: number, socket: number | undefined, stderr: number) {
    this.#sys = sys;
    this.pid = pid;
    this.#pidfd = sys.pidfdOpen(pid);
    this.#socket = socket;
    this.#stderr = stderr;
    sys.setNonBlocking(stderr, true);
  }

  /** A process that does not get as far as criu before the deadline is ended: `call` says so. */
  static start(sys: Syscalls, criu: CriuProcess, deadline: Deadline): CriuSession {
    const [ours, theirs] = sys.socketpair(SOCK_SEQPACKET);
    const output = sys.pipe2(0);
    const pid = sys.clone(0, criu.cgroupFd);
    if (pid === 0) return becomeCriu(sys, criu, theirs, output.writeEnd);
    sys.close(theirs);
    sys.close(output.writeEnd);
    try {
      const [ready = 0] = sys.poll([{ fd: ours, events: POLLIN }], deadline.remainingMs());
      if (ready === 0) sys.kill(pid, SIGKILL);
      return new CriuSession(sys, pid, sys.receiveMessage(ours, 1)?.fds[0], output.readEnd);
    } finally {
      sys.close(ours);
    }
  }

  /**
   * Sends the request and returns the answer to it, serving notifications meanwhile. Throws unknown with criu's reasons
   * when it fails, deadline exceeded when it takes too long, and whatever `notified` throws; criu has undone what it had
   * begun then, as far as it could. `logFile` is where criu was told to write.
   */
  call(request: CriuRequest, deadline: Deadline, logFile: string, notified: NotificationHandler): CriuResponse {
    this.#send(request);
    for (;;) {
      const { response, fds } = this.#receive(deadline, logFile);
      try {
        if (!response.success) throw this.#failure(response, logFile);
        if (response.notify === undefined) return response;
        notified(response.notify.script, response.notify.pid, fds);
      } finally {
        for (const fd of fds) this.#sys.close(fd);
      }
      this.#send({ type: 'notify', notifySuccess: true });
    }
  }

  #send(request: CriuRequest): void {
    if (this.#socket === undefined) return;
    try {
      this.#sys.sendMessage(this.#socket, encodeRequest(request), []);
    } catch (err) {
      // It is gone; what it has said is still to be read.
      if (!isErrno(err, 'EPIPE', 'ECONNRESET')) throw err;
    }
  }

  #receive(deadline: Deadline, logFile: string): { response: CriuResponse; fds: number[] } {
    const socket = this.#socket;
    if (socket === undefined) throw this.#gone(logFile);
    for (;;) {
      const [answer = 0, said = 0] = this.#sys.poll(
        [
          { fd: socket, events: POLLIN },
          { fd: this.#stderr, events: POLLIN },
        ],
        deadline.remainingMs(),
      );
      if (said !== 0) this.#readStderr();
      if (answer !== 0) {
        const message = this.#receiveOne(socket);
        if (message === undefined || message.data.length === 0) throw this.#gone(logFile);
        return { response: decodeResponse(message.data), fds: [...message.fds] };
      }
      if (said === 0 && deadline.remainingMs() === 0) {
        throw deadlineExceeded(`criu takes too long (log file: ${logFile})`);
      }
    }
  }

  #receiveOne(socket: number): { readonly data: Buffer; readonly fds: readonly number[] } | undefined {
    try {
      return this.#sys.receiveMessage(socket, MAX_MESSAGE_BYTES);
    } catch (err) {
      if (!isErrno(err, 'ECONNRESET')) throw err;
      return undefined;
    }
  }

  #readStderr(): void {
    const chunk = Buffer.alloc(MAX_STDERR_BYTES);
    const length = this.#sys.read(this.#stderr, chunk);
    if (length === undefined) return;
    if (length === 0) {
      this.#sys.close(this.#stderr);
      this.#stderr = -1;
      return;
    }
    this.#said = Buffer.concat([this.#said, chunk.subarray(0, length)]).subarray(-MAX_STDERR_BYTES);
  }

  #failure({ type, errno, message }: CriuResponse, logFile: string): GantryError {
    const reasons = [message, this.#reasons(logFile)].filter((reason) => reason !== '');
    return unknown(
      `criu failed: type ${typeName(type)} errno ${errno}: ${reasons.join(': ') || 'no reason given'} (log file: ${logFile})`,
    );
  }

  /** It ended without an answer. */
  #gone(logFile: string): GantryError {
    const how = this.#awaitEnd();
    const said = this.#said.toString().trim();
    if (isRefusal(said)) return failedPrecondition(said.slice(refusal.length));
    const reasons = this.#reasons(logFile) || errorsOf(said) || said.split('\n').at(-1) || 'no reason given';
    return unknown(`criu failed: ${how}: ${reasons} (log file: ${logFile})`);
  }

  #reasons(logFile: string): string {
    return errorsIn(logFile);
  }

  /** Waits for its end and reaps it, unless somebody else has. Returns how it ended. */
  #awaitEnd(): string {
    const [ended = 0] = this.#sys.poll([{ fd: this.#pidfd, events: POLLIN }], END_TIMEOUT_MS);
    if (ended === 0) this.#sys.pidfdSendSignal(this.#pidfd, SIGKILL);
    this.#ended = true;
    if (this.#stderr >= 0) this.#readStderr();
    try {
      const exit = this.#sys.wait4(this.pid, 0);
      if (exit === undefined) return 'ended';
      return exit.signal === 0 ? `exit status ${exit.exitStatus}` : `killed by signal ${exit.signal}`;
    } catch (err) {
      if (!isErrno(err, 'ECHILD')) throw err;
      return 'ended';
    }
  }

  /** Ends criu if it has not ended: it hears the end of the socket first, and has some time to undo what it does. */
  [Symbol.dispose](): void {
    if (this.#socket !== undefined) this.#sys.close(this.#socket);
    if (!this.#ended) this.#awaitEnd();
    this.#sys.close(this.#pidfd);
    if (this.#stderr >= 0) this.#sys.close(this.#stderr);
    this.#stderr = -1;
  }
}

/** What the new process says when its own part fails. */
const refusal = 'gantry: ';

function isRefusal(said: string): boolean {
  return said.startsWith(refusal);
}

/**
 * Never returns. The descriptors that stay open keep their numbers: what is below may be the event loop's, which must
 * not be overwritten as long as this is Node.
 */
function becomeCriu(sys: Syscalls, criu: CriuProcess, channel: number, stderr: number): never {
  try {
    criu.prepare?.();
    const [ours, socket] = sys.socketpair(SOCK_SEQPACKET);
    sys.sendMessage(channel, Buffer.of(0), [ours]);
    sys.resetSignals();
    const nothing = sys.openat(AT_FDCWD, '/dev/null', O_RDONLY);
    const stdin = criu.stdin < 0 ? nothing : criu.stdin;
    sys.closeRange(3, LAST_FD, CLOSE_RANGE_CLOEXEC);
    for (const fd of [socket, ...criu.inherited]) if (fd > 2) sys.setCloseOnExec(fd, false);
    sys.dup2(stdin, 0);
    sys.dup2(stderr, 1);
    sys.dup2(stderr, 2);
    const env = [`PATH=${process.env['PATH'] ?? defaultPath}`, 'HOME=/root', 'LC_ALL=C'];
    return sys.execve(criu.program, [criu.program, 'swrk', String(socket)], env);
  } catch (err) {
    try {
      sys.write(stderr, Buffer.from(`${refusal}${messageOf(err)}`));
    } catch {
      // Nobody listens; the end of the socket says enough.
    }
    return sys.exitNow(1);
  }
}
