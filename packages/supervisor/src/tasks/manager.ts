/**
 * The tasks of all namespaces: who has them, and how they come and go.
 *
 * Intent before effect: a record comes before the bundle, the bundle before the shim, the shim before the
 * container. So a crash on any line leaves something the reconciler knows how to finish.
 */
import { events, nowNs, timestampFromNs, timestampToNs, unpackAny, v1Types } from '@gantry/api';
import { alreadyExists, failpoint, messageOf, notFound } from '@gantry/errors';
import type { Envelope, Publisher } from '../events/exchange.ts';
import { ShimConnection } from '../shims/connection.ts';
import { dial } from '../shims/dial.ts';
import type { Dialled, InitStatus } from '../shims/dial.ts';
import { isInSandbox } from '../shims/foreign/foreign-bundle.ts';
import type { ForeignShims } from '../shims/foreign/foreign-shims.ts';
import type { ShimLauncher, ShimRequest } from '../shims/launcher.ts';
import { isAlive, killProcess, processGone } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { Timeouts } from '../timeouts.ts';
import type { Bundles, TaskName } from './bundle.ts';
import { createTask, fingerprint } from './create-task.ts';
import type { CreateTask } from './create-task.ts';
import { deleteTask, retireShim } from './delete-task.ts';
import { KeyedQueue } from './keyed-queue.ts';
import type { TaskExit, TaskRecord, TaskRecords } from './record.ts';
import { Task } from './task.ts';

/** The part of a logger the tasks use. */
export interface TaskLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface TaskManagerComponents {
  readonly records: TaskRecords;
  readonly bundles: Bundles;
  readonly launcher: ShimLauncher;
  readonly foreign: ForeignShims;
  /** Runtime names that the configuration gives a shim. */
  readonly runtimes: ReadonlyMap<string, string>;
  /** OCI runtimes that it means by their names. */
  readonly binaries: ReadonlyMap<string, string>;
  readonly events: Publisher;
  readonly timeouts: Timeouts;
  readonly log: TaskLog;
}

interface Creation {
  readonly fingerprint: string;
  readonly pid: Promise<number>;
}

/** How often the clean-up after a dead shim is tried before its container is given up. */
const cleanUpAttempts = 3;

/** The exit status of a container of which nobody knows how it ended. */
const unknownStatus = 255;

/** How many shims of resting tasks are dialled at a time. */
const wakeLimit = 4;

/** How often a shim that lives but does not answer is dialled again. */
const redialMs = 1000;

export class TaskManager {
  readonly components: TaskManagerComponents;
  readonly #tasks = new Map<string, Task>();
  readonly #creations = new Map<string, Creation>();
  readonly #queue = new KeyedQueue();
  readonly #redials = new Set<NodeJS.Timeout>();
  #closed = false;

  constructor(components: TaskManagerComponents) {
    this.components = components;
  }

  /** Throws not found, in containerd's words. */
  get(namespace: string, id: string): Task {
    const task = this.#tasks.get(keyOf(namespace, id));
    if (task === undefined || task.state.kind === 'creating' || task.state.kind === 'gone') {
      throw notFound(`task ${id} not found`, { container: id });
    }
    return task;
  }

  /**
   * Resolves when no task of this name is being created any more. A client that opens a process's stdio may call about its
   * task before Create is answered, and is not told that there is none, as with containerd.
   */
  async settled({ namespace, id }: TaskName): Promise<void> {
    await this.#creations.get(keyOf(namespace, id))?.pid.catch(() => undefined);
  }

  /** The task of this name in whatever state; undefined when there is none. */
  find({ namespace, id }: TaskName): Task | undefined {
    return this.#tasks.get(keyOf(namespace, id));
  }

  /** The tasks of a namespace in the order of their ids. */
  list(namespace: string): Task[] {
    return this.all().filter((task) => task.namespace === namespace && task.state.kind !== 'creating');
  }

  all(): Task[] {
    return [...this.#tasks.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /**
   * Creates a task; resolves to the pid of its init, which waits for Start. A retry of a create that is still under way
   * joins it. Throws already exists, invalid argument (config.json), and what the runtime says.
   */
  async create(request: CreateTask): Promise<number> {
    const key = keyOf(request.namespace, request.id);
    const print = fingerprint(request);
    const running = this.#creations.get(key);
    if (running?.fingerprint === print) return running.pid;
    if (running !== undefined || this.#tasks.has(key))
      throw alreadyExists(`task ${request.id}`, { container: request.id });
    const pid = this.exclusive(request, () => createTask(this, request)).finally(() => this.#creations.delete(key));
    this.#creations.set(key, { fingerprint: print, pid });
    return pid;
  }

  /** Runs an operation on one task after all earlier ones on it. */
  exclusive<T>(name: TaskName, operation: () => Promise<T>): Promise<T> {
    return this.#queue.run(keyOf(name.namespace, name.id), operation);
  }

  /** Takes a task into the list; the caller brings it into a state. */
  add(name: TaskName, record: TaskRecord, isForeign = false): Task {
    const task = new Task(name, record, isForeign);
    this.#tasks.set(keyOf(name.namespace, name.id), task);
    return task;
  }

  /** Connects a task with its shim and watches the line. */
  attach(task: Task, shim: ShimConnection, init: InitStatus): void {
    // Of one that is to be restored the shim alone will know which process it is.
    task.init = init.pid === 0 ? undefined : init;
    task.state = { kind: 'attached', shim };
    shim.onClose(() => {
      if (this.#closed || task.deleted !== undefined || task.state.kind !== 'attached' || task.state.shim !== shim)
        return;
      task.state = { kind: 'unreachable' };
      void this.#lost(task);
    });
  }

  /** Dials the shim of a task that rests; resolves when that is known to be there or not. */
  async wake(task: Task): Promise<void> {
    if (task.state.kind === 'resting') await this.#lost(task);
  }

  /** Dials the shims of all tasks that rest, a few at a time, so that calls come through meanwhile. */
  async wakeAll(): Promise<void> {
    const resting = this.all().filter(({ state }) => state.kind === 'resting');
    const worker = async (): Promise<void> => {
      for (let task = resting.pop(); task !== undefined && !this.#closed; task = resting.pop()) await this.wake(task);
    };
    await Promise.all(Array.from({ length: wakeLimit }, worker));
  }

  /**
   * Init was started or resumed (its pid), or is to be paused (undefined): so the next supervisor knows whether it runs
   * without asking. When that cannot be noted it will ask.
   */
  note(task: Task, runningPid: number | undefined): void {
    if (this.find(task) !== task || task.record.runningPid === runningPid) return;
    const record = { ...task.record, runningPid };
    try {
      this.components.records.replace(task, record);
    } catch (err) {
      this.components.log.warn({ ns: task.namespace, container: task.id, err: messageOf(err) }, 'noting a task');
      if (runningPid === undefined) throw err; // what is noted would be wrong
      return;
    }
    task.record = record;
  }

  /**
   * Deletes a task that is stopped or was never started; resolves to how it ended. Can be repeated after a failure. Throws
   * what the shim says when the task is not in a state to be deleted.
   */
  async delete(task: Task): Promise<TaskExit> {
    return new Promise((resolve, reject) => {
      const remove = async (): Promise<void> => {
        const { state } = task;
        await deleteTask(this, task).then(resolve, reject);
        if (task.state.kind === 'gone')
          await retireShim(this, task, state.kind === 'attached' ? state.shim : undefined);
      };
      this.exclusive(task, remove).catch((err: unknown) => {
        const { namespace: ns, id: container } = task;
        this.components.log.error({ ns, container, err: messageOf(err) }, 'ending the shim of a deleted task');
      });
    });
  }

  /** Takes note of what a shim tells everybody. */
  observe({ namespace, topic, event }: Envelope): void {
    if (topic !== '/tasks/exit' || event === undefined) return;
    const { containerId, id, pid, exitStatus, exitedAt } = unpackAny(events.TaskExit, event);
    const task = this.#tasks.get(keyOf(namespace, containerId));
    // What an earlier task of this name had kept for us may come late.
    if (task === undefined || id !== containerId || (task.init !== undefined && task.init.pid !== pid)) return;
    const exitedAtNs = exitedAt === undefined ? undefined : timestampToNs(exitedAt);
    task.init = { pid, status: v1Types.Status.STOPPED, exitStatus, exitedAtNs };
  }

  /** Removes a task from the list, and its record. */
  forget(task: Task): void {
    this.components.records.remove(task);
    this.#tasks.delete(keyOf(task.namespace, task.id));
    task.state = { kind: 'gone' };
  }

  /**
   * The shim of this task is dead: ends what is left of the container, keeps how it ended in the record, and tells
   * everybody. The task stays, STOPPED, until it is deleted; so does the bundle when something in it could not be ended.
   */
  async bury(task: Task): Promise<void> {
    const { bundles, events: publisher, log, records } = this.components;
    const { namespace, id } = task;
    const initPid = await bundles.noteBurial(task);
    const exit = await this.#remains(task);
    await failpoint('task.bury.after-cleanup');
    const { status, atNs } = exit ?? { status: unknownStatus, atNs: nowNs() };
    const pid = exit === undefined || exit.pid === 0 ? initPid : exit.pid;
    task.record = { ...task.record, exit: { pid, status, atNs } };
    records.replace(task, task.record);
    await failpoint('task.bury.after-record');
    publisher.publish(namespace, '/tasks/exit', events.TaskExit, {
      containerId: id,
      id,
      pid,
      exitStatus: status,
      exitedAt: timestampFromNs(atNs),
    });
    task.state = { kind: 'ended', exit: { pid, status, atNs } };
    if (exit !== undefined) await bundles.remove(task);
    log.warn({ ns: namespace, container: id, pid, exit_status: status }, 'shim died; its container was ended');
  }

  /**
   * The shim has no task. When one ended there its Delete was cut off: it stays, STOPPED, for Delete to be repeated. Else
   * its Create was cut off, and nothing stays.
   */
  async conclude(task: Task, shim: ProcessIdentity | undefined): Promise<void> {
    const { bundles, timeouts } = this.components;
    if (await bundles.hasExit(task)) {
      if (shim !== undefined && killProcess(shim)) await processGone(shim, timeouts.shimShutdownMs);
      await this.bury(task);
      return;
    }
    await this.discard(task, shim);
    this.forget(task);
  }

  /** Ends what a dead shim left, and says how the container ended. Throws when something does not end. */
  async cleanUp(name: TaskName): Promise<TaskExit> {
    const { bundles, foreign, launcher } = this.components;
    const cleaner = bundles.foreignBinary(name) === undefined ? launcher : foreign;
    const { pid, exitStatus, exitedAtNs } = await cleaner.cleanUp(this.shimRequest(name));
    return { pid, status: exitStatus, atNs: exitedAtNs };
  }

  /**
   * Ends a shim that must not be there, with its container, and removes its bundle. Throws when something does not end:
   * the bundle stays then, for it is all that is known of what is left.
   */
  async discard(name: TaskName, shim: ProcessIdentity | undefined): Promise<void> {
    const { bundles, foreign, timeouts } = this.components;
    if (bundles.foreignBinary(name) !== undefined)
      await foreign.end(this.shimRequest(name), shim, shim !== undefined && this.isShared(name, shim));
    else {
      if (shim !== undefined && killProcess(shim)) await processGone(shim, timeouts.shimShutdownMs);
      if (await bundles.hasLeftovers(name)) await this.cleanUp(name);
    }
    await bundles.remove(name);
  }

  /** Whether another task, or a sandbox, has the same shim: one that is not ours may serve a whole pod. */
  isShared({ namespace, id }: TaskName, shim: ProcessIdentity): boolean {
    if (isInSandbox(this.components.bundles.pathOf({ namespace, id }))) return true;
    return [...this.#tasks.values()].some(
      (other) => other.process?.pid === shim.pid && (other.namespace !== namespace || other.id !== id),
    );
  }

  /** Dials the shim of a task. Never rejects. */
  async dial(name: TaskName): Promise<Dialled> {
    const { bundles, foreign, timeouts } = this.components;
    const isForeign = bundles.foreignBinary(name) !== undefined;
    const connect = (): Promise<ShimConnection> =>
      isForeign
        ? foreign.connect(bundles.pathOf(name))
        : ShimConnection.connect(bundles.socketOf(name), timeouts.shimLoadMs);
    return await dial(connect, name.id, timeouts.shimLoadMs);
  }

  shimRequest(name: TaskName): ShimRequest {
    const { bundles } = this.components;
    return { namespace: name.namespace, id: name.id, bundle: bundles.pathOf(name), socketPath: bundles.socketOf(name) };
  }

  /** Dials a shim again until it answers or is dead. */
  awaitShim(task: Task): void {
    task.state = { kind: 'unreachable' };
    const timer = setTimeout(() => {
      this.#redials.delete(timer);
      void this.#lost(task);
    }, redialMs);
    timer.unref();
    this.#redials.add(timer);
  }

  /** Lets go of every shim; they live on. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#redials) clearTimeout(timer);
    for (const task of this.#tasks.values()) if (task.state.kind === 'attached') task.state.shim.close();
  }

  /** How the container of a dead shim ended; undefined when that cannot be had after several tries. */
  async #remains(task: Task): Promise<TaskExit | undefined> {
    const { log } = this.components;
    for (let attempt = 1; attempt <= cleanUpAttempts; attempt += 1) {
      try {
        return await this.cleanUp(task);
      } catch (err) {
        const fields = { ns: task.namespace, container: task.id, attempt, err: messageOf(err) };
        log.error(fields, 'cleaning up after a dead shim failed');
      }
    }
    return undefined;
  }

  /** The line to a shim broke: it is dead, or it is not and must be dialled again. */
  async #lost(task: Task): Promise<void> {
    const { log } = this.components;
    try {
      await this.exclusive(task, () => this.#recover(task));
    } catch (err) {
      log.error({ ns: task.namespace, container: task.id, err: messageOf(err) }, 'recovering a task');
      if (!this.#closed) this.awaitShim(task);
    }
  }

  async #recover(task: Task): Promise<void> {
    const { bundles, log } = this.components;
    const shim = bundles.readShim(task);
    if (this.#closed || (task.state.kind !== 'unreachable' && task.state.kind !== 'resting')) return;
    task.process = shim;
    const rested = task.state.kind === 'resting';
    if (shim === undefined || !isAlive(shim)) {
      await this.bury(task);
      return;
    }
    const { answer, connection, init } = await this.dial(task);
    if (connection !== undefined && init !== undefined) {
      this.attach(task, connection, init);
      if (!rested) log.info({ ns: task.namespace, container: task.id, shim_pid: shim.pid }, 'shim answers again');
      return;
    }
    connection?.close();
    if (answer === 'no task') {
      await this.conclude(task, shim);
      return;
    }
    log.warn({ ns: task.namespace, container: task.id, shim_pid: shim.pid }, 'shim does not answer; trying again');
    if (!this.#closed) this.awaitShim(task);
  }
}

/** The key of a task in the manager's maps; neither part can hold a slash. */
function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
