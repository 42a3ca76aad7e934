/**
 * The tasks of all namespaces: who has them, and how they come and go.
 *
 * Intent before effect: a durable record comes before the bundle, the bundle before the shim, the shim before the
 * container; deletion goes the other way. So a crash on any line leaves something the reconciler knows how to finish.
 */
import { events, timestampFromNs } from '@gantry/api';
import { alreadyExists, codeOf, messageOf, notFound } from '@gantry/errors';
import { keys } from '@gantry/store';
import type { Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { failpoint } from '../failpoints.ts';
import type { ShimConnection } from '../shims/connection.ts';
import { dial } from '../shims/dial.ts';
import type { Remains, ShimLauncher, ShimRequest } from '../shims/launcher.ts';
import { isAlive, killProcess } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { Timeouts } from '../timeouts.ts';
import type { Bundles, TaskName } from './bundle.ts';
import { createTask, fingerprint } from './create-task.ts';
import type { CreateTask } from './create-task.ts';
import { KeyedQueue } from './keyed-queue.ts';
import { encodeTask } from './record.ts';
import type { TaskExit, TaskRecord } from './record.ts';
import { Task } from './task.ts';

/** The part of a logger the tasks use. */
export interface TaskLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface TaskManagerComponents {
  readonly store: Store;
  readonly bundles: Bundles;
  readonly launcher: ShimLauncher;
  readonly events: Publisher;
  readonly timeouts: Timeouts;
  readonly log: TaskLog;
}

interface Creation {
  readonly fingerprint: string;
  readonly pid: Promise<number>;
}

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
  add(name: TaskName, record: TaskRecord): Task {
    const task = new Task(name.namespace, name.id, record);
    this.#tasks.set(keyOf(name.namespace, name.id), task);
    return task;
  }

  /** Connects a task with its shim and watches the line. */
  attach(task: Task, shim: ShimConnection): void {
    task.state = { kind: 'attached', shim };
    shim.onClose(() => {
      if (this.#closed || task.deleting || task.state.kind !== 'attached' || task.state.shim !== shim) return;
      task.state = { kind: 'unreachable' };
      void this.#lost(task);
    });
  }

  /**
   * Deletes a task that is stopped or was never started. Goes on past what fails on the way and can be repeated. Throws
   * what the shim says when the task is not in a state to be deleted.
   */
  async delete(task: Task): Promise<TaskExit> {
    return this.exclusive(task, async () => {
      if (task.state.kind === 'gone') throw notFound(`task ${task.id} not found`, { container: task.id });
      if (task.state.kind === 'ended') return this.#deleteEnded(task, task.state.exit);
      const shim = task.shim();
      const exit = await deleteInShim(task, shim);
      task.deleting = true;
      await failpoint('task.delete.after-shim');
      await Promise.all([this.#shutDown(task, shim), this.forget(task)]);
      await failpoint('task.delete.after-record');
      await this.components.bundles.remove(task);
      return exit;
    });
  }

  /** Removes a task from the list and from the store. */
  async forget(task: Task): Promise<void> {
    await this.components.store.transact((tx) => tx.delete(keys.tasks(task.namespace, task.id)));
    this.#tasks.delete(keyOf(task.namespace, task.id));
    task.state = { kind: 'gone' };
  }

  /**
   * The shim of this task is dead: ends what is left of the container, keeps how it ended in the record, and tells
   * everybody. The task stays, STOPPED, until it is deleted.
   */
  async bury(task: Task): Promise<void> {
    const { bundles, events: publisher, log, store } = this.components;
    const { namespace, id } = task;
    const remains = await this.cleanUp(task);
    const exit: TaskExit = { pid: remains.pid, status: remains.exitStatus, atNs: remains.exitedAtNs };
    task.record = { ...task.record, exit };
    await store.transact((tx) => tx.put(keys.tasks(namespace, id), encodeTask(task.record)));
    publisher.publish(namespace, '/tasks/exit', events.TaskExit, {
      containerId: id,
      id,
      pid: exit.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromNs(exit.atNs),
    });
    task.state = { kind: 'ended', exit };
    await bundles.remove(task);
    log.warn(
      { ns: namespace, container: id, pid: exit.pid, exit_status: exit.status },
      'shim died; its container was ended',
    );
  }

  /** Ends what a dead shim left. When even that fails the exit status is 255: nobody knows. */
  async cleanUp(name: TaskName): Promise<Remains> {
    const { launcher, log } = this.components;
    try {
      return await launcher.cleanUp(this.shimRequest(name));
    } catch (err) {
      log.error(
        { ns: name.namespace, container: name.id, err: messageOf(err) },
        'cleaning up after a dead shim failed',
      );
      return { pid: 0, exitStatus: 255, exitedAtNs: BigInt(Date.now()) * 1_000_000n };
    }
  }

  /** Ends a shim that must not be there, with its container, and removes its bundle. */
  async discard(name: TaskName, shim: ProcessIdentity | undefined): Promise<void> {
    if (shim !== undefined && killProcess(shim)) await gone(shim, this.components.timeouts.shimShutdownMs);
    if (await this.components.bundles.exists(name)) await this.cleanUp(name);
    await this.components.bundles.remove(name);
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
    const { bundles, log, timeouts } = this.components;
    const shim = await bundles.readShim(task);
    if (this.#closed || task.state.kind !== 'unreachable') return;
    if (shim === undefined || !isAlive(shim)) {
      await this.bury(task);
      return;
    }
    const { answer, connection } = await dial(bundles.socketOf(task), task.id, timeouts.shimLoadMs);
    if (answer === 'task' && connection !== undefined) {
      this.attach(task, connection);
      log.info({ ns: task.namespace, container: task.id, shim_pid: shim.pid }, 'shim answers again');
      return;
    }
    connection?.close();
    if (answer === 'no task') {
      await this.discard(task, shim);
      await this.forget(task);
      return;
    }
    log.warn({ ns: task.namespace, container: task.id, shim_pid: shim.pid }, 'shim does not answer; trying again');
    if (!this.#closed) this.awaitShim(task);
  }

  async #deleteEnded(task: Task, exit: TaskExit): Promise<TaskExit> {
    await this.forget(task);
    await this.components.bundles.remove(task);
    this.components.events.publish(task.namespace, '/tasks/delete', events.TaskDelete, {
      containerId: task.id,
      pid: exit.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromNs(exit.atNs),
    });
    return exit;
  }

  /** Tells a shim without a container to end, and sees to it that it does. */
  async #shutDown(task: Task, shim: ShimConnection): Promise<void> {
    const { bundles, log, timeouts } = this.components;
    const process = await bundles.readShim(task);
    const closed = new Promise<void>((resolve) => {
      shim.onClose(resolve);
    });
    try {
      await shim.call('shutdown', { id: task.id }, { timeoutMs: timeouts.shimShutdownMs });
    } catch (err) {
      // The shim may be gone before its answer is.
      if (!shim.closed) log.warn({ ns: task.namespace, container: task.id, err: messageOf(err) }, 'shim shutdown');
    }
    await Promise.race([closed, delay(timeouts.shimShutdownMs)]);
    shim.close();
    if (process !== undefined && !(await gone(process, 200)) && killProcess(process)) {
      log.warn({ ns: task.namespace, container: task.id, shim_pid: process.pid }, 'shim did not end and was killed');
    }
  }
}

/** The key of a task in the manager's maps; neither part can hold a slash. */
function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

/** Has the shim delete its task; one it does not know counts as deleted. */
async function deleteInShim(task: Task, shim: ShimConnection): Promise<TaskExit> {
  try {
    const { pid, exitStatus, exitedAt } = await shim.call('delete', { id: task.id });
    return { pid, status: exitStatus, atNs: exitedAt === undefined ? 0n : nsOf(exitedAt) };
  } catch (err) {
    if (codeOf(err) !== 'not found') throw err;
    return { pid: 0, status: 0, atNs: 0n };
  }
}

function nsOf({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): bigint {
  return seconds * 1_000_000_000n + BigInt(nanos);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves to true when the process has ended, to false when it has not within the time. */
async function gone(process: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  for (const end = Date.now() + timeoutMs; ;) {
    if (!isAlive(process)) return true;
    if (Date.now() > end) return false;
    await delay(5);
  }
}
