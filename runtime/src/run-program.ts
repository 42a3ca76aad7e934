/** Running a program to its end: fed from a text, the end of what it prints kept, within a time. */
import { messageOf } from '@gantry/errors';
import { CLOSE_RANGE_CLOEXEC, monotonicMs, POLLIN, POLLOUT, SIGKILL } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';

const LAST_FD = 0xffff_ffff;

/** Of what it prints, as much as an error text can bear. */
const MAX_OUTPUT_BYTES = 4096;

export interface Program {
  readonly path: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly directory: string;
  readonly input: string;
  /** -1 is no limit; it is killed when it takes longer. */
  readonly timeoutMs: number;
}

export interface ProgramEnd {
  readonly inTime: boolean;
  readonly exitStatus: number;
  readonly signal: number;
  readonly output: string;
}

/** Nothing of ours is in it but two pipes. */
export function runProgram(sys: Syscalls, program: Program): ProgramEnd {
  const stdin = sys.pipe2(0);
  const output = sys.pipe2(0);
  const pid = sys.clone(0);
  if (pid === 0) becomeProgram(sys, program, stdin.readEnd, output.writeEnd);
  sys.close(stdin.readEnd);
  sys.close(output.writeEnd);
  const pidfd = sys.pidfdOpen(pid);
  const said = new Conversation(sys, stdin.writeEnd, output.readEnd, Buffer.from(program.input));
  try {
    const inTime = said.hold(pidfd, program.timeoutMs);
    if (!inTime) sys.pidfdSendSignal(pidfd, SIGKILL);
    const { exitStatus = 0, signal = 0 } = sys.wait4(pid, 0) ?? {};
    return { inTime, exitStatus, signal, output: said.output() };
  } finally {
    said.close();
    sys.close(pidfd);
  }
}

/** Never returns. */
function becomeProgram(sys: Syscalls, { path, argv, env, directory }: Program, input: number, output: number): never {
  try {
    sys.resetSignals();
    sys.dup2(input, 0);
    sys.dup2(output, 1);
    sys.dup2(output, 2);
    sys.closeRange(3, LAST_FD, CLOSE_RANGE_CLOEXEC);
    sys.chdir(directory);
    return sys.execve(path, argv, env);
  } catch (err) {
    try {
      sys.write(2, Buffer.from(messageOf(err)));
    } catch {
      // Nobody listens; the status says enough.
    }
    return sys.exitNow(1);
  }
}

/** Feeding a process its input and keeping the end of what it prints, until it has ended. */
class Conversation {
  readonly #sys: Syscalls;
  #input: number;
  #output: number;
  #left: Buffer;
  #printed = Buffer.alloc(0);

  constructor(sys: Syscalls, input: number, output: number, text: Buffer) {
    this.#sys = sys;
    this.#input = input;
    this.#output = output;
    this.#left = text;
    for (const fd of [input, output]) sys.setNonBlocking(fd, true);
  }

  /** False when the process has not ended in time; -1 is no limit. */
  hold(pidfd: number, timeoutMs: number): boolean {
    const until = monotonicMs() + timeoutMs;
    for (;;) {
      const left = timeoutMs < 0 ? -1 : Math.max(0, until - monotonicMs());
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
      // What it has left in the pipe is there at once; a child of its own may keep that open for ever.
      if (ended !== 0) return true;
      if (left === 0) return false;
    }
  }

  #write(): void {
    try {
      const written = this.#sys.write(this.#input, this.#left) ?? 0;
      this.#left = this.#left.subarray(written);
      if (this.#left.length === 0) this.#closeInput();
    } catch {
      // EPIPE: it does not want to know.
      this.#closeInput();
    }
  }

  #read(): void {
    const chunk = Buffer.alloc(MAX_OUTPUT_BYTES);
    const length = this.#sys.read(this.#output, chunk);
    if (length === undefined) return;
    if (length === 0) {
      this.#sys.close(this.#output);
      this.#output = -1;
      return;
    }
    this.#printed = Buffer.concat([this.#printed, chunk.subarray(0, length)]).subarray(-MAX_OUTPUT_BYTES);
  }

  #closeInput(): void {
    this.#sys.close(this.#input);
    this.#input = -1;
  }

  output(): string {
    if (this.#output >= 0) this.#read();
    return this.#printed.toString().trim();
  }

  close(): void {
    for (const fd of [this.#input, this.#output]) if (fd >= 0) this.#sys.close(fd);
  }
}
