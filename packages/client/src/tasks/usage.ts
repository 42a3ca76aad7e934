/** What running tasks use, read from the metrics of cgroup v1 or v2 into one shape. */
import { cgroupsV1, cgroupsV2, timestampToNs, unpackAny } from '@gantry/api';
import type { types, wellKnown } from '@gantry/api';
import { isCode } from '@gantry/errors';
import type { TasksClient } from '../services/tasks.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { isLive } from './status.ts';

/** A limit near the top of 64 bits means none. */
const noLimit = 1n << 60n;

const defaultIntervalMs = 1000;

/** One reading of one task; a field is undefined where the kernel has no figure, or no limit. */
export interface TaskUsage {
  /** The container's id. */
  readonly id: string;
  /** When it was read, nanoseconds since 1970 by the server's clock. */
  readonly atNs: bigint;
  /** Processor time since the container was made, nanoseconds. */
  readonly cpuNs: bigint | undefined;
  /** Without page cache that can go at any time. */
  readonly memoryBytes: bigint | undefined;
  readonly memoryLimitBytes: bigint | undefined;
  readonly pids: bigint | undefined;
  readonly pidsLimit: bigint | undefined;
}

/** A reading with the share of processor time since the one before. */
export interface TaskStats extends TaskUsage {
  /** Percent of one processor; undefined in the first reading of a task. */
  readonly cpuPercent: number | undefined;
}

export interface StatsOptions extends CallOptions {
  /** Ids of containers; default: all that run. One that does not run is left out. */
  readonly ids?: readonly string[] | undefined;
  /** Time between two readings, milliseconds; default one second. */
  readonly intervalMs?: number | undefined;
}

/** Readings of the running tasks, one after the other; they have no end. */
export type StatsStream = AsyncGenerator<TaskStats[], void, void> & AsyncDisposable;

/** What the running tasks, or those of these ids among them, use now. */
export async function readUsage(
  tasks: Pick<TasksClient, 'list' | 'metrics'>,
  options: Pick<StatsOptions, 'ids'> & CallOptions = {},
): Promise<TaskUsage[]> {
  const { ids } = options;
  const running = (await tasks.list(options)).filter(isLive).map((task) => task.id || task.containerId);
  const wanted = new Set(ids === undefined ? running : running.filter((id) => ids.includes(id)));
  if (wanted.size === 0) return [];
  const metrics = await tasks.metrics(
    [...wanted].map((id) => `id==${id}`),
    options,
  );
  return metrics.filter((metric) => wanted.has(metric.id)).map(usageOf);
}

/**
 * A reading at once, then one every `intervalMs`. Leaving the loop, `await using` or the signal ends it; a reading that
 * fails is thrown, and a server that is away for a moment is one of those failures.
 */
export function watchUsage(tasks: Pick<TasksClient, 'list' | 'metrics'>, options: StatsOptions = {}): StatsStream {
  const stopped = new AbortController();
  const signal = options.signal === undefined ? stopped.signal : AbortSignal.any([stopped.signal, options.signal]);
  const readings = (async function* () {
    let before: readonly TaskUsage[] = [];
    try {
      for (;;) {
        const now = await readUsage(tasks, { ...options, signal });
        yield now.map((usage) => withShare(usage, before));
        before = now;
        await pause(options.intervalMs ?? defaultIntervalMs, signal);
        options.signal?.throwIfAborted();
        if (stopped.signal.aborted) return;
      }
    } catch (err) {
      // Whoever ended the stream himself does not want to hear of the call that it broke.
      if (stopped.signal.aborted && isCode(err, 'cancelled')) return;
      throw err;
    }
  })();
  return Object.assign(readings, {
    async [Symbol.asyncDispose](): Promise<void> {
      stopped.abort();
      await readings.return();
    },
  });
}

/** The figures of one metric, whichever cgroup version they come from; none of a type that is not known here. */
export function usageOf(metric: types.Metric): TaskUsage {
  const atNs = metric.timestamp === undefined ? 0n : timestampToNs(metric.timestamp);
  const type = metric.data?.typeUrl ?? '';
  const data: wellKnown.Any = metric.data ?? { typeUrl: '', value: new Uint8Array() };
  const base = { id: metric.id, atNs };
  if (type.endsWith(cgroupsV1.Metrics.typeName)) {
    const { cpu, memory, pids } = unpackAny(cgroupsV1.Metrics, data);
    const usage = memory?.usage;
    return {
      ...base,
      cpuNs: cpu?.usage?.total,
      memoryBytes: usage === undefined ? undefined : withoutCache(usage.usage, memory?.totalInactiveFile),
      memoryLimitBytes: limitOf(usage?.limit),
      pids: pids?.current,
      // v1 says 0 for "max".
      pidsLimit: pids?.limit === 0n ? undefined : limitOf(pids?.limit),
    };
  }
  if (type.endsWith(cgroupsV2.Metrics.typeName)) {
    const { cpu, memory, pids } = unpackAny(cgroupsV2.Metrics, data);
    return {
      ...base,
      cpuNs: cpu === undefined ? undefined : cpu.usageUsec * 1000n,
      memoryBytes: memory === undefined ? undefined : withoutCache(memory.usage, memory.inactiveFile),
      memoryLimitBytes: limitOf(memory?.usageLimit),
      pids: pids?.current,
      pidsLimit: limitOf(pids?.limit),
    };
  }
  const none = undefined;
  return { ...base, cpuNs: none, memoryBytes: none, memoryLimitBytes: none, pids: none, pidsLimit: none };
}

/** The reading with the share of processor time since the reading of the same task in `earlier`. */
export function withShare(current: TaskUsage, earlier: readonly TaskUsage[]): TaskStats {
  const before = earlier.find((reading) => reading.id === current.id);
  const known = before?.cpuNs !== undefined && current.cpuNs !== undefined && current.atNs > before.atNs;
  if (!known) return { ...current, cpuPercent: undefined };
  const usedNs = Number((current.cpuNs ?? 0n) - (before.cpuNs ?? 0n));
  return { ...current, cpuPercent: (usedNs / Number(current.atNs - before.atNs)) * 100 };
}

const limitOf = (limit: bigint | undefined): bigint | undefined =>
  limit === undefined || limit >= noLimit ? undefined : limit;

/** As docker counts: page cache that can go at any time is not the container's. */
const withoutCache = (usage: bigint, inactiveFile = 0n): bigint =>
  usage > inactiveFile ? usage - inactiveFile : usage;

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
