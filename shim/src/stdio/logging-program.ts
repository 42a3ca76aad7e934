/**
 * A logging program (`binary://path?key=value…`): gets the container's output on two pipes.
 *
 *   shim                                           program
 *   three pipes, clone, execve             ───►    3 = stdout to read, 4 = stderr to read, 5 = ready, to write
 *   waits                                  ◄───    writes a byte to 5, or closes it
 *   gives the write ends to the container  ───►    reads until the end of file
 *   Delete: SIGTERM, 12 s later SIGKILL    ───►    ends
 *
 * Arguments are each key of the query and its value, in turn; the environment is CONTAINER_ID and CONTAINER_NAMESPACE,
 * nothing else. A program that dies takes its pipes along: the container gets EPIPE, as with containerd.
 */
import { deadlineExceeded, unknown, wrap } from '@gantry/errors';
import { AT_FDCWD, CLOSE_RANGE_CLOEXEC, O_CLOEXEC, O_RDWR, signals, watchReadable } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { programReadyTimeoutMs, programStopTimeoutMs } from '../limits.ts';
import type { Reaper } from '../process/reaper.ts';
import type { OutputStream } from './output-stream.ts';

/** The calls that starting and ending a program takes. */
export type ProgramCalls = Pick<
  Syscalls,
  | 'pipe2'
  | 'clone'
  | 'dup'
  | 'dup2'
  | 'openat'
  | 'close'
  | 'closeRange'
  | 'resetSignals'
  | 'setsid'
  | 'execve'
  | 'exitNow'
  | 'read'
  | 'write'
  | 'kill'
>;

export interface ProgramParts {
  readonly sys: ProgramCalls;
  readonly reaper: Reaper;
  readonly containerId: string;
  readonly namespace: string;
}

/** What a `binary://` string says. */
export interface ProgramTarget {
  readonly path: string;
  readonly args: readonly string[];
}

interface Pipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

interface Pipes {
  readonly stdout: Pipe;
  readonly stderr: Pipe;
  readonly ready: Pipe;
  /** Carries the reason when execve fails; closed by a successful one. */
  readonly failure: Pipe;
}

export class LoggingProgram {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly #sys: ProgramCalls;
  readonly #pid: number;
  #exited = false;
  #stopTimer: NodeJS.Timeout | undefined;

  private constructor(sys: ProgramCalls, pid: number, pipes: Pipes) {
    this.#sys = sys;
    this.#pid = pid;
    this.stdout = pipeStream(sys, pipes.stdout.writeEnd);
    this.stderr = pipeStream(sys, pipes.stderr.writeEnd);
  }

  /** Resolves when the program has said that it is ready. Rejects, with nothing left, when it cannot be run. */
  static async start(parts: ProgramParts, target: ProgramTarget): Promise<LoggingProgram> {
    const { sys, reaper } = parts;
    const pipes = makePipes(sys);
    const expectation = reaper.expect();
    let program: LoggingProgram | undefined;
    try {
      const pid = cloneOrClose(sys, [pipes.ready.writeEnd, pipes.failure.writeEnd]);
      if (pid === 0) become(parts, target, pipes);
      const born = new LoggingProgram(sys, pid, pipes);
      program = born;
      expectation.claim(pid, () => born.#ended());
      for (const { readEnd } of [pipes.stdout, pipes.stderr]) sys.close(readEnd);
      for (const { writeEnd } of [pipes.ready, pipes.failure]) sys.close(writeEnd);
      throwFailure(sys, pipes.failure.readEnd);
      await readiness(sys, pipes.ready.readEnd);
      return program;
    } catch (err) {
      if (program === undefined) closeAll(sys, [pipes.stdout, pipes.stderr]);
      program?.stdout.close();
      program?.stderr.close();
      program?.stop();
      throw wrap(err, `logging program "${target.path}"`);
    } finally {
      expectation.end();
      for (const { readEnd } of [pipes.ready, pipes.failure]) sys.close(readEnd);
    }
  }

  /** Asks it to end, and sees to it. Can be repeated. */
  stop(): void {
    if (this.#exited || this.#stopTimer !== undefined) return;
    this.#sys.kill(this.#pid, signals['SIGTERM'] ?? 15);
    this.#stopTimer = setTimeout(() => {
      if (!this.#exited) this.#sys.kill(this.#pid, signals['SIGKILL'] ?? 9);
    }, programStopTimeoutMs);
    this.#stopTimer.unref();
  }

  #ended(): void {
    this.#exited = true;
    clearTimeout(this.#stopTimer);
  }
}

function makePipes(sys: ProgramCalls): Pipes {
  const made: Pipe[] = [];
  const make = (): Pipe => {
    const pipe = sys.pipe2(O_CLOEXEC);
    made.push(pipe);
    return pipe;
  };
  try {
    return { stdout: make(), stderr: make(), ready: make(), failure: make() };
  } catch (err) {
    closeAll(sys, made);
    throw err;
  }
}

function closeAll(sys: ProgramCalls, pipes: readonly Pipe[]): void {
  for (const { readEnd, writeEnd } of pipes) {
    sys.close(readEnd);
    sys.close(writeEnd);
  }
}

function cloneOrClose(sys: ProgramCalls, fds: readonly number[]): number {
  try {
    return sys.clone(0);
  } catch (err) {
    for (const fd of fds) sys.close(fd);
    throw err;
  }
}

/** In the child: never returns. */
function become(parts: ProgramParts, target: ProgramTarget, pipes: Pipes): never {
  const { sys } = parts;
  // Out of the way first: 0 to 5 may be among the pipes' own numbers.
  const failure = sys.dup(pipes.failure.writeEnd, 16);
  try {
    const [out, err, ready] = [pipes.stdout.readEnd, pipes.stderr.readEnd, pipes.ready.writeEnd].map((fd) =>
      sys.dup(fd, 16),
    );
    const nowhere = sys.dup(sys.openat(AT_FDCWD, '/dev/null', O_RDWR), 16);
    sys.setsid();
    sys.resetSignals();
    sys.closeRange(6, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
    const argv = [target.path, ...target.args];
    const environment = [`CONTAINER_ID=${parts.containerId}`, `CONTAINER_NAMESPACE=${parts.namespace}`];
    // Last, because these numbers may belong to Node's event loop, which V8 may still want to wake.
    const wanted = [nowhere, nowhere, nowhere, out, err, ready];
    for (const [number, fd] of wanted.entries()) if (fd !== undefined) sys.dup2(fd, number);
    return sys.execve(target.path, argv, environment);
  } catch (err) {
    sys.write(failure, Buffer.from(String(err instanceof Error ? err.message : err)));
    return sys.exitNow(127);
  }
}

/** Reads what the child wrote before it gave up; the end of file is the success of its execve. */
function throwFailure(sys: ProgramCalls, fd: number): void {
  const buffer = Buffer.alloc(1024);
  const count = sys.read(fd, buffer) ?? 0;
  if (count > 0) throw unknown(buffer.toString('utf8', 0, count));
}

async function readiness(sys: ProgramCalls, fd: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      unwatch();
      reject(deadlineExceeded('not ready'));
    }, programReadyTimeoutMs);
    const unwatch = watchReadable(fd, () => {
      clearTimeout(timer);
      unwatch();
      sys.read(fd, Buffer.alloc(1));
      resolve();
    });
  });
}

/** The write end of a pipe: the container's copy decides when the reader sees the end of file. */
function pipeStream(sys: ProgramCalls, writeFd: number): OutputStream {
  let open = true;
  const close = (): void => {
    if (open) sys.close(writeFd);
    open = false;
  };
  return { writeFd, handedOver: close, release: close, close };
}
