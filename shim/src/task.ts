/**
 * A container in its shim: init, the execs, and the order in which the world hears of them.
 *
 *   create ─► created ──start──► running ◄──resume── paused            (of a checkpoint: start restores it)
 *                │                  │ └────pause─────►
 *                └── exits, killed ─┴──► stopped ──delete──► gone
 *
 * Promises:
 * - a create that fails leaves no process, no cgroup, no descriptor, and the shim may be asked again;
 * - events leave in the order create, start, (exec-added, exec-started,) exit, delete; init's exit comes after the exits
 *   of its execs; an init that is deleted before it was started has no exit event;
 * - the exit record is written before Wait answers and before the exit is announced;
 * - no process is signalled by a pid that may have been given to another: a child's pid stays its own until it is
 *   reaped here, and what was reaped is not signalled.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  isCode,
  messageOf,
  notFound,
  unknown,
  wrap,
} from '@gantry/errors';
import type { LinuxResources } from '@gantry/oci';
import { parseProcess } from '@gantry/oci';
import { signals } from '@gantry/libc';
import type { Container } from '@gantry/runtime';
import type { CheckpointOptions } from './checkpoint-options.ts';
import { criuTimeoutMs, drainTimeoutMs, execExitsTimeoutMs, execTimeoutMs, killTimeoutMs } from './limits.ts';
import { inRuntime, makeContainer, readSpec } from './make-container.ts';
import type { CreateTask, TaskParts } from './make-container.ts';
import { OomWatch } from './oom-watch.ts';
import type { OomSource } from './oom-watch.ts';
import { ContainerToRestore } from './process/container-to-restore.ts';
import { ExecProcess } from './process/exec-process.ts';
import { writeExitRecord } from './process/exit-record.ts';
import { InitProcess } from './process/init-process.ts';
import type { Exit, Expectation } from './process/reaper.ts';
import { openStdio } from './stdio/open-stdio.ts';
import type { OpenStdioParts, StdioStrings } from './stdio/open-stdio.ts';

const SIGKILL = signals['SIGKILL'] ?? 9;

export class Task {
  readonly id: string;
  readonly bundle: string;
  readonly init: InitProcess;
  readonly #parts: TaskParts;
  readonly #execs = new Map<string, ExecProcess>();
  readonly #stdioParts: OpenStdioParts;
  #oom: OomWatch | undefined;
  /** Called when an exec has ended, while init's exit waits for that. */
  #onExecExit: (() => void) | undefined;

  private constructor(parts: TaskParts, request: CreateTask, init: InitProcess) {
    this.#parts = parts;
    this.id = request.id;
    this.bundle = request.bundle;
    this.init = init;
    this.#stdioParts = stdioParts(parts, request);
  }

  /** Sets the container up; init waits for `start`. */
  static async create(parts: TaskParts, request: CreateTask): Promise<Task> {
    const spec = readSpec(request.bundle, request.stdio.terminal);
    const { reaper } = parts;
    const stdio = await openStdio(stdioParts(parts, request), request.stdio);
    const expectation = reaper.expect();
    let task: Task | undefined;
    try {
      const container = makeContainer(parts, request, spec, stdio.childDescriptors);
      task = new Task(parts, request, new InitProcess(container, request.stdio, stdio));
      if (!(container instanceof ContainerToRestore)) task.#initBorn(expectation);
    } catch (err) {
      if (task !== undefined) await task.#abandon();
      stdio.close();
      throw err;
    } finally {
      expectation.end();
    }
    parts.events.created({ bundle: task.bundle, rootfs: request.rootfs, ...request.stdio, pid: task.init.pid });
    return task;
  }

  #initBorn(expectation: Expectation): void {
    const { container, stdio } = this.init;
    expectation.claim(container.pid, (exit) => void this.#initReaped(exit));
    stdio.processBorn(container.console);
  }

  /** The exec of that id; not found when there is none. */
  exec(execId: string): ExecProcess {
    const exec = this.#execs.get(execId);
    if (exec === undefined) throw notFound(`process does not exist ${execId}`);
    return exec;
  }

  /** True while anything of the container is alive. */
  get isAlive(): boolean {
    return this.init.latch.exit === undefined;
  }

  /** Releases init. Returns its pid. */
  async start(): Promise<number> {
    return await this.init.queue.run(() => {
      const expectation = this.#parts.reaper.expect();
      try {
        this.init.start();
        if (this.init.container instanceof ContainerToRestore) this.#initBorn(expectation);
      } finally {
        expectation.end();
      }
      this.#oom = new OomWatch(this.#kills(), () => this.#parts.events.oom(), this.#parts.log);
      this.#parts.events.started(this.init.pid);
      return this.init.pid;
    });
  }

  /** Reserves an exec. `spec` is the OCI Process as JSON. */
  addExec(execId: string, spec: Uint8Array, stdio: StdioStrings): void {
    checkExecId(execId);
    if (this.#execs.has(execId)) throw alreadyExists(`id ${execId}`);
    this.init.check('exec');
    const process = { ...parseProcess(Buffer.from(spec)), terminal: stdio.terminal };
    this.#execs.set(execId, new ExecProcess(execId, this.bundle, process, stdio));
    this.#parts.events.execAdded(execId);
  }

  /** Runs a reserved exec. Returns its pid. After a failure it is still reserved. */
  async startExec(execId: string): Promise<number> {
    const exec = this.exec(execId);
    return await exec.queue.run(async () => {
      exec.check('start');
      this.#checkInitRuns();
      await this.#launch(exec);
      this.#parts.events.execStarted(execId, exec.pid);
      return exec.pid;
    });
  }

  async #launch(exec: ExecProcess): Promise<void> {
    const { sys, reaper } = this.#parts;
    const stdio = await openStdio(this.#stdioParts, exec.strings);
    const expectation = reaper.expect();
    try {
      const born = inRuntime('exec', () =>
        this.init.container.exec({
          process: exec.processToStart,
          stdio: stdio.childDescriptors,
          timeoutMs: execTimeoutMs,
        }),
      );
      expectation.claim(born.pid, (exit) => this.#execReaped(exec, exit));
      exec.born(born, stdio);
    } catch (err) {
      stdio.close();
      if (exec.state === 'running') exec.kill(sys, SIGKILL);
      throw err;
    } finally {
      expectation.end();
    }
  }

  /** containerd's clients tell a dead init from other failures of an exec by this code and sentence. */
  #checkInitRuns(): void {
    const { state } = this.init;
    if (state === 'paused' || state === 'pausing') this.init.check('exec');
    if (state === 'stopped' || state === 'deleted' || this.init.latch.exit !== undefined) {
      throw failedPrecondition(`container ${this.id} init process is not running`);
    }
  }

  killExec(execId: string, signal: number): void {
    this.exec(execId).kill(this.#parts.sys, signal);
  }

  async deleteExec(execId: string): Promise<Exit> {
    const exec = this.exec(execId);
    return await exec.queue.run(async () => {
      const exit = await exec.remove(drainTimeoutMs);
      this.#execs.delete(execId);
      return exit;
    });
  }

  pause(): void {
    this.init.pause();
    this.#parts.events.paused();
  }

  resume(): void {
    this.init.resume();
    this.#parts.events.resumed();
  }

  update(resources: LinuxResources): void {
    this.init.check('update');
    this.init.container.update(resources);
  }

  /**
   * Saves the container to `directory`. With `exit` init is killed by it, and its exit is announced as any other. After a
   * failure criu's log is in the bundle.
   */
  async checkpoint(directory: string, options: CheckpointOptions): Promise<void> {
    await this.init.queue.run(() => {
      const { init } = this;
      init.check('checkpoint');
      const workPath = options.workPath ?? join(this.bundle, 'criu-work');
      inRuntime('checkpoint', () =>
        init.container.checkpoint({ ...options, imagePath: directory, workPath, timeoutMs: criuTimeoutMs }),
      );
      if (options.workPath === undefined) rmSync(workPath, { recursive: true, force: true });
      this.#parts.events.checkpointed();
    });
  }

  /** Every pid in the container, with the exec's id where it is one. */
  pids(): { pid: number; execId: string | undefined }[] {
    const execs = new Map<number, string>();
    for (const exec of this.#execs.values()) if (exec.state === 'running') execs.set(exec.pid, exec.id);
    return this.init.container.pids().map((pid) => ({ pid, execId: execs.get(pid) }));
  }

  stats(): ReturnType<Container['stats']> {
    return this.init.container.stats();
  }

  /**
   * Removes the stopped or never started container. Goes on past an error, so that one busy resource does not keep the
   * others; throws the errors together, and can be repeated then.
   */
  async delete(): Promise<Exit> {
    const { init } = this;
    return await init.queue.run(async () => {
      init.check('delete');
      if (init.state === 'created') await init.discard();
      const errors: unknown[] = [];
      await init.stdio.drained(drainTimeoutMs);
      for (const exec of this.#execs.values()) await attempt(errors, async () => await this.#dropExec(exec));
      await attempt(errors, () => this.#oom?.close());
      await attempt(errors, () => init.container.destroy());
      await attempt(errors, () => init.stdio.close());
      throwTogether(errors, `deleting container "${this.id}"`);
      init.state = 'deleted';
      const exit = init.latch.exit ?? { pid: init.pid, exitStatus: 0, exitedAtNs: this.#parts.nowNs() };
      this.#parts.events.deleted(exit);
      return exit;
    });
  }

  /** Execs that nobody deleted go with the container; what still lives was left by a cgroup kill and dies now. */
  async #dropExec(exec: ExecProcess): Promise<void> {
    if (exec.state === 'running') {
      try {
        exec.kill(this.#parts.sys, SIGKILL);
      } catch (err) {
        if (!isCode(err, 'not found')) throw err;
      }
      await exec.latch.waitAtMost(killTimeoutMs);
    }
    if (exec.state === 'running') throw unknown(`exec ${exec.id} does not die`);
    await exec.remove(0);
    this.#execs.delete(exec.id);
  }

  #execReaped(exec: ExecProcess, exit: Exit): void {
    exec.exited(exit);
    this.#parts.events.exited(exec.id, exit);
    this.#onExecExit?.();
  }

  async #initReaped(exit: Exit): Promise<void> {
    const { init } = this;
    init.stdio.processExited();
    if (!init.container.hasPrivatePidNamespace) this.#killTheRest();
    if (this.#hasRunningExecs()) await this.#execsEnded();
    this.#oom?.look();
    this.#oom?.close();
    this.#record(exit);
    init.state = 'stopped';
    if (!init.discarded) this.#parts.events.exited(this.id, exit);
    init.latch.settle(init.discarded ? { ...exit, exitStatus: 0 } : exit);
  }

  /** Without a pid namespace of its own nobody else ends the container's other processes. */
  #killTheRest(): void {
    try {
      this.init.container.cgroup.killAll(SIGKILL);
    } catch (err) {
      this.#parts.log.warn('killing what init has left', { container: this.id, error: messageOf(err) });
    }
  }

  #hasRunningExecs(): boolean {
    for (const exec of this.#execs.values()) if (exec.state === 'running') return true;
    return false;
  }

  /** Resolves when no exec runs any more, or after a while: a process in state D must not hide init's exit. */
  async #execsEnded(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, execExitsTimeoutMs);
      this.#onExecExit = () => {
        if (this.#hasRunningExecs()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onExecExit = undefined;
  }

  #record(exit: Exit): void {
    try {
      writeExitRecord(this.bundle, { ...exit, oomKilled: (this.#oom?.kills ?? 0) > 0 });
    } catch (err) {
      // A full disk must not hide the exit from those who wait; the supervisor asks State before it reads the record.
      this.#parts.log.error('writing the exit record', { container: this.id, error: messageOf(err) });
    }
  }

  #kills(): OomSource {
    const { container } = this.init;
    return { kills: () => container.cgroup.oomKills(), watch: (seen) => container.watchOom(seen) };
  }

  /** A create that failed after init was made. */
  async #abandon(): Promise<void> {
    try {
      await this.init.discard();
      this.#oom?.close();
      this.init.container.destroy();
    } catch (err) {
      this.#parts.log.error('undoing a create', { container: this.id, error: messageOf(err) });
    }
  }
}

function stdioParts(parts: TaskParts, request: CreateTask): OpenStdioParts {
  const { sys, log, reaper, namespace } = parts;
  const owner = request.stdioOwner === undefined ? {} : { owner: request.stdioOwner };
  return { sys, log, reaper, namespace, containerId: request.id, ...owner };
}

/** An exec id is free text for containerd; here it also becomes a file name in the bundle. */
function checkExecId(execId: string): void {
  if (execId === '') throw invalidArgument('exec id cannot be empty');
  const isFileName = !/[/\0]/.test(execId) && !execId.startsWith('.') && Buffer.byteLength(execId) <= 200;
  if (!isFileName || execId === 'init') throw invalidArgument(`exec id "${execId}"`);
}

async function attempt(errors: unknown[], step: () => Promise<void> | void): Promise<void> {
  try {
    await step();
  } catch (err) {
    errors.push(err);
  }
}

function throwTogether(errors: readonly unknown[], doing: string): void {
  const [first, ...more] = errors;
  if (first === undefined) return;
  const others = more.map((err) => `; ${messageOf(err)}`).join('');
  throw wrap(others === '' ? first : unknown(messageOf(first) + others), doing);
}
