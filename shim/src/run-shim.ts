/**
 * The daemon: one process that serves the task API for one container until it is told to shut down.
 *
 *   supervisor                                         shim
 *   spawns it detached, stdout is a pipe        ───►   becomes a subreaper, listens
 *   reads one line                              ◄───   {"version":3,"address":"unix:///…","protocol":"ttrpc","pid":N}
 *   calls Task over ttrpc                       ───►   …
 *   (dies, comes back, calls Connect)           ◄───   keeps events, offers them again
 *   Delete, Shutdown                            ───►   sends its last events, removes its socket, ends with 0
 *
 * Nothing is made at import time and no timer or descriptor outlives the returned promise, so that a process forked
 * from a warm one can call `runShim` as its whole life.
 *
 * Signals: SIGTERM and SIGINT end the shim when it has no container and are ignored (with a line in the log)
 * otherwise, because ending it would take a running container's stdio and exit status along; SIGPIPE is ignored;
 * SIGUSR1 writes the state of the process to the log.
 */
import { nowNs, taskV2, taskV3 } from '@gantry/api/shim';
import { detectCgroups, openCgroup } from '@gantry/cgroups';
import { messageOf } from '@gantry/errors';
import { PR_SET_CHILD_SUBREAPER, signals } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Container, CreateRequest } from '@gantry/runtime';
import { TtrpcServer } from '@gantry/ttrpc';
import { EventQueue } from './events/event-queue.ts';
import type { EventConnection } from './events/event-queue.ts';
import { connectToEvents } from './events/forward.ts';
import { TaskEvents } from './events/task-events.ts';
import { flushTimeoutMs } from './limits.ts';
import type { ShimLog } from './log.ts';
import { lowerOomPriority } from './oom-score.ts';
import { Reaper } from './process/reaper.ts';
import { TaskService } from './task-service.ts';

/** What the supervisor learns when the shim listens. */
export interface Bootstrap {
  readonly version: 3;
  readonly address: string;
  readonly protocol: 'ttrpc';
  readonly pid: number;
}

export interface ShimOptions {
  readonly namespace: string;
  /** The container this shim is for. */
  readonly id: string;
  /** Absolute path of the socket to make, at most 107 bytes. */
  readonly socketPath: string;
  /** The supervisor's event socket; undefined: events go nowhere. */
  readonly eventsPath: string | undefined;
  readonly version: string;
  readonly sys: Syscalls;
  readonly createContainer: (sys: Syscalls, request: CreateRequest) => Container;
  readonly log: ShimLog;
  /** Called once, when the socket takes calls. */
  readonly announce: (bootstrap: Bootstrap) => void;
}

/** Resolves with the exit code when the shim has shut down. Rejects when it cannot start. */
export async function runShim(options: ShimOptions): Promise<number> {
  const { sys, log } = options;
  sys.prctl(PR_SET_CHILD_SUBREAPER, 1n);
  sys.ignoreSignal(signals['SIGPIPE'] ?? 13, true);
  lowerOomPriority(log);
  const reaper = new Reaper({ sys, nowNs, onOrphan: (exit) => log.debug('reaped', { pid: exit.pid }) });
  const queue = new EventQueue({ connect: async () => await connectEvents(options), nowNs, log });
  let shutDown = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    shutDown = resolve;
  });
  const service = new TaskService({
    ...options,
    reaper,
    queue,
    nowNs,
    events: new TaskEvents(queue, options.id),
    joinCgroup: (path) => openCgroup(detectCgroups(), path).addProcess(process.pid),
    onShutdown: () => shutDown(),
  });
  const removeHandlers = handleSignals(log, service, () => shutDown());
  const server = new TtrpcServer({ onError: (err) => log.debug('ttrpc', { error: messageOf(err) }) });
  reaper.start();
  try {
    server.register(taskV3.TaskService, service).register(taskV2.TaskService, service);
    await server.listen(options.socketPath, { mode: 0o600 });
    options.announce({ version: 3, address: `unix://${options.socketPath}`, protocol: 'ttrpc', pid: process.pid });
    await done;
    // The answer to Shutdown leaves with this turn of the loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (!(await queue.flush(flushTimeoutMs))) log.warn('events were not taken', { left: queue.length });
    return 0;
  } finally {
    queue.close();
    await server.close();
    reaper.stop();
    removeHandlers();
  }
}

/** A shim that was told of no event socket takes every event for delivered. */
async function connectEvents(options: ShimOptions): Promise<EventConnection> {
  if (options.eventsPath !== undefined) return await connectToEvents(options.eventsPath, options.namespace);
  return { closed: false, close: () => undefined, forward: async () => undefined };
}

/** Installs the handlers the header tells of; returns what takes them away. */
function handleSignals(log: ShimLog, service: TaskService, shutDown: () => void): () => void {
  const onEnd = (signal: NodeJS.Signals): void => {
    if (service.isOccupied) log.warn(`${signal} is ignored while there is a container`);
    else shutDown();
  };
  const onDump = (): void => {
    const { rss, heapUsed, external } = process.memoryUsage();
    log.info('state', { rss, heap_used: heapUsed, external, active: process.getActiveResourcesInfo().join(',') });
  };
  // One broken callback must not end the shim: the container's stdio and exit status would go with it.
  const onUncaught = (err: unknown): void =>
    log.error('uncaught', { error: err instanceof Error ? (err.stack ?? err.message) : String(err) });
  process.on('SIGTERM', onEnd).on('SIGINT', onEnd).on('SIGUSR1', onDump);
  process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught);
  return () => {
    process.off('SIGTERM', onEnd).off('SIGINT', onEnd).off('SIGUSR1', onDump);
    process.off('uncaughtException', onUncaught).off('unhandledRejection', onUncaught);
  };
}
