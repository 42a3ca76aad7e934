/**
 * The restart monitor: every so often it looks at the containers with a restart label and brings their tasks to where the
 * labels want them. It asks for that as any client would, so events, checks and statuses are those of the services.
 */
import { containers, nowNs, snapshots, tasks, timestampToNs, v1Types } from '@gantry/api';
import { failpoint, isCode, messageOf } from '@gantry/errors';
import { parseSpec } from '@gantry/oci';
import { keys } from '@gantry/store';
import type { Store } from '@gantry/store';
import { inProcess } from '../rpc/in-process.ts';
import type { InProcessCall } from '../rpc/in-process.ts';
import type { Binding } from '../rpc/handlers.ts';
import { namespaceNames } from '../services/namespace-records.ts';
import { actionFor, restartCount, restartLabels } from './policy.ts';
import type { TaskNow } from './policy.ts';

export interface RestartMonitorOptions {
  readonly store: Store;
  /** The services, that of the tasks among them; comes when tasks can be asked about. */
  readonly services: Promise<readonly Binding[]>;
  /** Time between two looks; 0: nothing is looked after. */
  readonly intervalMs: number;
  readonly log: { info(fields: object, text: string): void; warn(fields: object, text: string): void };
}

type Container = containers.Container;
type FoundTask = TaskNow & { readonly pid: number };

const SIGKILL = 9;

/** So long a record without a task is somebody's who is about to make one, and a task that was made his who is about to start it. */
const youngMs = 10_000;

/** What is looked for in a record before it is decoded: most containers have no such label. */
const mark = Buffer.from(restartLabels.status);

export class RestartMonitor {
  readonly #options: RestartMonitorOptions;
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  /** Containers without a task, at the look before and at this one. */
  #absentBefore: ReadonlySet<string> = new Set();
  #absentNow = new Set<string>();
  /** Tasks that were made and not started, by their pid: since when each has been seen. */
  #createdBefore: ReadonlyMap<string, number> = new Map();
  #createdNow = new Map<string, number>();
  /** The store's generation when no container had a restart label: as long as nothing is written none has. */
  #noneAt: number | undefined;

  constructor(options: RestartMonitorOptions) {
    this.#options = options;
  }

  /** Looks for the first time after one interval. */
  start(): void {
    const { intervalMs } = this.#options;
    if (intervalMs <= 0 || this.#closing.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#look()
        .catch((err: unknown) => this.#options.log.warn({ err: messageOf(err) }, 'restart monitor'))
        .finally(() => this.start());
    }, intervalMs);
    this.#timer.unref();
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#round;
  }

  /** What fails for one container is told, and tried again at the next look. Rejects when the store cannot be read. */
  async #look(): Promise<void> {
    const { log, services, store } = this.#options;
    const generation = generationOf(store);
    if (generation === this.#noneAt) return;
    this.#absentBefore = this.#absentNow;
    this.#absentNow = new Set();
    this.#createdBefore = this.#createdNow;
    this.#createdNow = new Map();
    let isAnyMarked = false;
    for (const namespace of namespaceNames(store)) {
      for (const { value } of store.scan(keys.containers(namespace))) {
        if (this.#closing.signal.aborted) return;
        if (!Buffer.from(value.buffer, value.byteOffset, value.byteLength).includes(mark)) continue;
        isAnyMarked = true;
        const container = containers.Container.decode(Buffer.from(value));
        try {
          await this.#settle(inProcess(await services, namespace, this.#closing.signal), namespace, container);
        } catch (err) {
          if (this.#closing.signal.aborted) return;
          log.warn({ ns: namespace, container: container.id, err: messageOf(err) }, 'restart monitor');
        }
      }
    }
    this.#noneAt = isAnyMarked ? undefined : generation;
  }

  /**
   * Whether a task that is not there is nobody's doing: whoever has just made the record makes its task too, and whoever has
   * just deleted the task deletes its record.
   */
  #stays(key: string, createdAt: Container['createdAt']): boolean {
    this.#absentNow.add(key);
    return this.#absentBefore.has(key) && !isYoung(createdAt);
  }

  /** Whether whoever made a task will not start it any more: a gantryd, maybe, that died between the two. */
  #isAbandoned(key: string, { pid, status }: FoundTask): boolean {
    if (status !== v1Types.Status.CREATED) return false;
    const place = `${key}/${pid}`;
    const sinceMs = this.#createdBefore.get(place) ?? performance.now();
    this.#createdNow.set(place, sinceMs);
    return performance.now() - sinceMs > youngMs;
  }

  async #settle(call: InProcessCall, namespace: string, container: Container): Promise<void> {
    const { createdAt, id, labels } = container;
    const key = `${namespace}/${id}`;
    const found = await taskOf(call, id);
    if (found === undefined && !this.#stays(key, createdAt)) return;
    const task = found !== undefined && this.#isAbandoned(key, found) ? undefined : found;
    const action = actionFor(labels, task);
    if (action === 'none') return;
    this.#options.log.info({ ns: namespace, container: id, action }, 'restart monitor');
    if (action === 'start') await noteRestart(call, container);
    await failpoint('restart.after-count');
    await endTask(call, id);
    await failpoint('restart.after-end');
    if (action === 'start') await startTask(call, container);
  }
}

function generationOf(store: Store): number {
  using view = store.snapshot();
  return view.generation;
}

function isYoung(createdAt: Container['createdAt']): boolean {
  return createdAt !== undefined && nowNs() - timestampToNs(createdAt) < BigInt(youngMs) * 1_000_000n;
}

async function taskOf(call: InProcessCall, containerId: string): Promise<FoundTask | undefined> {
  try {
    const { process } = await call(tasks.TasksService, 'get', { containerId });
    return { pid: process?.pid ?? 0, status: process?.status ?? 0, exitStatus: process?.exitStatus ?? 0 };
  } catch (err) {
    if (isCode(err, 'not found')) return undefined;
    throw err;
  }
}

async function noteRestart(call: InProcessCall, { id, labels }: Container): Promise<void> {
  const counted = { [restartLabels.count]: String(restartCount(labels) + 1) };
  await call(containers.ContainersService, 'update', {
    container: { id, labels: counted },
    updateMask: { paths: [`labels.${restartLabels.count}`] },
  });
}

/** Kills the container's task, if there is one that runs, and deletes it. */
async function endTask(call: InProcessCall, containerId: string): Promise<void> {
  const absentIsFine = async (step: Promise<unknown>): Promise<void> => {
    try {
      await step;
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  };
  const task = await taskOf(call, containerId);
  if (task === undefined) return;
  await absentIsFine(call(tasks.TasksService, 'kill', { containerId, signal: SIGKILL, all: true }));
  await absentIsFine(call(tasks.TasksService, 'wait', { containerId }));
  await absentIsFine(call(tasks.TasksService, 'delete', { containerId }));
}

/** A task that cannot be started is not left behind. */
async function startTask(call: InProcessCall, container: Container): Promise<void> {
  const { id: containerId, labels, snapshotKey: key, snapshotter, spec } = container;
  const terminal = spec === undefined ? false : (parseSpec(Buffer.from(spec.value)).process?.terminal ?? false);
  const mounts =
    key === '' ? [] : ((await call(snapshots.SnapshotsService, 'mounts', { snapshotter, key })).mounts ?? []);
  const stdout = labels[restartLabels.logUri] ?? '';
  const request = { containerId, rootfs: mounts, stdout, stderr: terminal ? '' : stdout, terminal };
  await call(tasks.TasksService, 'create', request);
  try {
    await failpoint('restart.after-create');
    await call(tasks.TasksService, 'start', { containerId });
  } catch (err) {
    await endTask(call, containerId);
    throw err;
  }
}
