/**
 * Hooks: programs that the configuration has called at points of a container's life (runtime specification,
 * config.md "POSIX-platform Hooks").
 *
 *   kind             in which namespaces        when                                                who calls it
 *   prestart         the runtime's              namespaces, mounts and devices are there             create.ts
 *   createRuntime    the runtime's              directly after                                       create.ts
 *   createContainer  the container's, old root  directly after                                       init/init.ts
 *   startContainer   the container's            start was called, the program is next                init/init.ts
 *   poststart        the runtime's              the program runs                                     start.ts
 *   poststop         the runtime's              the container is gone                                delete.ts
 *
 * Each gets the state as JSON on its standard input, its own arguments and environment and no descriptor of ours. The
 * lists are run in order; the first that fails ends its list.
 */
import { posix } from 'node:path';
import { deadlineExceeded, messageOf, unknown, wrap } from '@gantry/errors';
import { CLOSE_RANGE_CLOEXEC, POLLIN, POLLOUT, SIGKILL } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { supportedOciVersion } from '@gantry/oci';
import type { ContainerStatus, Hook, HookKind, Spec, State } from '@gantry/oci';

const LAST_FD = 0xffff_ffff;

/** Of what a hook prints, as much as an error text can bear. */
const MAX_OUTPUT_BYTES = 4096;

const statusIn: Readonly<Record<HookKind, ContainerStatus>> = {
  prestart: 'creating',
  createRuntime: 'creating',
  createContainer: 'creating',
  startContainer: 'created',
  poststart: 'running',
  poststop: 'stopped',
};

/** What hooks are told of the container. */
export interface HookSubject {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  /** As the hook sees it: own pid of the process inside, the host's outside. */
  readonly pid: number;
}

/** True when the configuration has hooks of one of these kinds. */
export function hasHooks({ hooks }: Spec, ...kinds: readonly HookKind[]): boolean {
  return hooks !== undefined && kinds.some((kind) => (hooks[kind] ?? []).length > 0);
}

/** Runs all hooks of a kind in `directory`. Throws the failure of the first that fails. */
export function runHooks(sys: Syscalls, kind: HookKind, subject: HookSubject, directory: string): void {
  const input = hookInput(kind, subject);
  for (const [index, hook] of (subject.spec.hooks?.[kind] ?? []).entries()) {
    try {
      runHook(sys, hook, input, directory);
    } catch (err) {
      throw wrap(err, `error running ${kind} hook #${index}`);
    }
  }
}

/** Runs each of them, whatever becomes of the others; returns what went wrong. */
export function runPoststopHooks(sys: Syscalls, hooks: readonly Hook[], input: string, directory: string): string[] {
  return hooks.flatMap((hook, index) => {
    try {
      runHook(sys, hook, input, directory);
      return [];
    } catch (err) {
      return [`error running poststop hook #${index}: ${messageOf(err)}`];
    }
  });
}

/** The state as a hook of this kind reads it. */
export function hookInput(kind: HookKind, { id, bundle, spec, pid }: HookSubject): string {
  const { annotations = {} } = spec;
  const status = statusIn[kind];
  const state: State = {
    ociVersion: supportedOciVersion,
    id,
    status,
    ...(status === 'stopped' ? {} : { pid }),
    bundle,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  return JSON.stringify(state);
}

function runHook(sys: Syscalls, hook: Hook, input: string, directory: string): void {
  const stdin = sys.pipe2(0);
  const output = sys.pipe2(0);
  const pid = sys.clone(0);
  if (pid === 0) becomeHook(sys, hook, stdin.readEnd, output.writeEnd, directory);
  sys.close(stdin.readEnd);
  sys.close(output.writeEnd);
  const pidfd = sys.pidfdOpen(pid);
  const said = new Conversation(sys, stdin.writeEnd, output.readEnd, Buffer.from(input));
  try {
    const timeoutMs = hook.timeout === undefined ? -1 : hook.timeout * 1000;
    const inTime = said.hold(pidfd, timeoutMs);
    if (!inTime) sys.pidfdSendSignal(pidfd, SIGKILL);
    const { exitStatus = 0, signal = 0 } = sys.wait4(pid, 0) ?? {};
    if (!inTime) throw deadlineExceeded(`hook ran past specified timeout of ${(timeoutMs / 1000).toFixed(1)}s`);
    if (exitStatus === 0) return;
    const how = signal === 0 ? `exit status ${exitStatus}` : `signal ${signal}`;
    throw unknown(`${how}, output: ${said.output()}`);
  } finally {
    said.close();
    sys.close(pidfd);
  }
}

/** Never returns. Nothing of ours is in it but the two pipes. */
function becomeHook(sys: Syscalls, hook: Hook, input: number, output: number, directory: string): never {
  const { path, args = [path], env = [] } = hook;
  try {
    sys.resetSignals();
    sys.dup2(input, 0);
    sys.dup2(output, 1);
    sys.dup2(output, 2);
    sys.closeRange(3, LAST_FD, CLOSE_RANGE_CLOEXEC);
    sys.chdir(directory);
    return sys.execve(path, args.length === 0 ? [posix.basename(path)] : args, env);
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
    const until = performance.now() + timeoutMs;
    for (;;) {
      const left = timeoutMs < 0 ? -1 : Math.max(0, until - performance.now());
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
