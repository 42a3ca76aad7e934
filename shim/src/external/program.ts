/**
 * Runs a program to its end while everything else waits, as the calls of our own runtime do: an OCI runtime's command takes
 * some 20 ms. Node's own child processes would be collected by the reaper.
 */
import { deadlineExceeded, unavailable, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  O_RDWR,
  POLLIN,
  POLLOUT,
  PR_SET_PDEATHSIG,
  SIGKILL,
  isErrno,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';

/** Of what a program prints, as much as somebody can use. */
const maxOutputBytes = 1024 * 1024;
const lastFd = 0xffff_ffff;
const executeFailed = 127;

export interface ProgramRequest {
  readonly path: string;
  /** Without the name. */
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Descriptors for 0, 1 and 2, -1 is the null device; absent: `input` is 0, what it says to 1 and 2 comes back. */
  readonly stdio?: { readonly stdin: number; readonly stdout: number; readonly stderr: number };
  readonly input?: string;
  readonly timeoutMs: number;
}

export interface ProgramResult {
  /** 0–255, 128 + signal. */
  readonly status: number;
  readonly output: string;
}

/**
 * What the program leaves running is nobody's business here. Throws deadline exceeded, when it was killed, and unavailable
 * when it cannot be executed.
 */
export function runProgram(sys: Syscalls, request: ProgramRequest): ProgramResult {
  const [input, output] = [sys.pipe2(0), sys.pipe2(0)];
  const pid = sys.clone(0);
  if (pid === 0) become(sys, request, input.readEnd, output.writeEnd);
  sys.close(input.readEnd);
  sys.close(output.writeEnd);
  const talk = new Talk(sys, input.writeEnd, output.readEnd, request.input ?? '');
  const pidfd = sys.pidfdOpen(pid);
  try {
    const inTime = talk.untilEnd(pidfd, request.timeoutMs);
    if (!inTime) sys.pidfdSendSignal(pidfd, SIGKILL);
    const { exitStatus = 0 } = sys.wait4(pid, 0) ?? {};
    if (!inTime) throw deadlineExceeded(`${request.path} ${request.args.join(' ')}: ${request.timeoutMs} ms`);
    const said = talk.output();
    if (exitStatus === executeFailed && said.startsWith('execve: ')) throw unavailable(`${request.path}: ${said}`);
    return { status: exitStatus, output: said };
  } finally {
    talk.close();
    sys.close(pidfd);
  }
}

/** Never returns. */
function become(sys: Syscalls, request: ProgramRequest, input: number, output: number): never {
  const { path, args, env, stdio } = request;
  try {
    sys.resetSignals();
    sys.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL));
    const nowhere = sys.openat(AT_FDCWD, '/dev/null', O_RDWR);
    const given = stdio === undefined ? [input, output, output] : [stdio.stdin, stdio.stdout, stdio.stderr];
    // First out of the way of each other, then to where they belong.
    const moved = given.map((fd) => sys.dup(fd < 0 ? nowhere : fd, 3));
    for (const [target, fd] of moved.entries()) sys.dup2(fd, target);
    sys.closeRange(3, lastFd, CLOSE_RANGE_CLOEXEC);
    return sys.execve(path, [path, ...args], env);
  } catch (err) {
    try {
      sys.write(output, Buffer.from(`execve: ${err instanceof Error ? err.message : String(err)}`));
    } catch {
      // Nobody listens; the status says enough.
    }
    return sys.exitNow(executeFailed);
  }
}

/** Feeds a process its input and keeps what it prints, until it has ended. */
class Talk {
  readonly #sys: Syscalls;
  #input: number;
  #output: number;
  #left: Buffer;
  readonly #printed: Buffer[] = [];
  #printedBytes = 0;

  constructor(sys: Syscalls, input: number, output: number, text: string) {
    this.#sys = sys;
    this.#input = input;
    this.#output = output;
    this.#left = Buffer.from(text);
    for (const fd of [input, output]) sys.setNonBlocking(fd, true);
    if (text === '') this.#closeInput();
  }

  /** False when it has not ended in time. */
  untilEnd(pidfd: number, timeoutMs: number): boolean {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const left = Math.max(0, end - performance.now());
      // A negative descriptor is passed over by the kernel.
      const [ended = 0, writable = 0, readable = 0] = this.#sys.poll(
        [
          { fd: pidfd, events: POLLIN },
          { fd: this.#input, events: POLLOUT },
          { fd: this.#output, events: POLLIN },
        ],
        left,
      );
      if (writable !== 0) this.#write();
      if (readable !== 0) this.#read();
      else if (ended !== 0) return true; // what is left in the pipe was read; a child of its own may keep it open
      if (left === 0) return ended !== 0;
    }
  }

  output(): string {
    return Buffer.concat(this.#printed).toString('utf8');
  }

  close(): void {
    this.#closeInput();
    if (this.#output >= 0) this.#sys.close(this.#output);
    this.#output = -1;
  }

  #write(): void {
    try {
      this.#left = this.#left.subarray(this.#sys.write(this.#input, this.#left) ?? 0);
      if (this.#left.length === 0) this.#closeInput();
    } catch (err) {
      if (!isErrno(err, 'EPIPE')) throw wrap(err, 'writing to a program');
      this.#closeInput(); // it does not want to know
    }
  }

  #read(): void {
    const chunk = Buffer.alloc(16 * 1024);
    const length = this.#sys.read(this.#output, chunk);
    if (length === undefined) return;
    if (length === 0) {
      this.#sys.close(this.#output);
      this.#output = -1;
      return;
    }
    this.#printedBytes += length;
    if (this.#printedBytes <= maxOutputBytes) this.#printed.push(chunk.subarray(0, length));
  }

  #closeInput(): void {
    if (this.#input >= 0) this.#sys.close(this.#input);
    this.#input = -1;
  }
}
