/**
 * A shim as a process: subreaper, server, signals, and one container at most.
 *
 * Signals: SIGTERM and SIGINT end the shim when it has no container and are ignored (with a line in the log)
 * otherwise, because ending it would take a running container's stdio and exit status along; SIGPIPE is ignored;
 * SIGUSR1 writes the state of the process to the log.
 */
import { nowNs, taskV2, taskV3 } from '@gantry/api/shim';
import { detectCgroups, openCgroup } from '@gantry/cgroups';
import { failedPrecondition, messageOf } from '@gantry/errors';
import { PR_SET_CHILD_SUBREAPER, signals } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Container, CreateRequest, RestoreRequest } from '@gantry/runtime';
import { TtrpcServer } from '@gantry/ttrpc';
import { EventQueue } from './events/event-queue.ts';
import type { EventConnection } from './events/event-queue.ts';
import { connectToEvents } from './events/forward.ts';
import { TaskEvents } from './events/task-events.ts';
import { flushTimeoutMs } from './limits.ts';
import type { ShimLog } from './log.ts';
import { Reaper } from './process/reaper.ts';
import { TaskService } from './task-service.ts';

export interface ShimParts {
  readonly version: string;
  readonly sys: Syscalls;
  readonly createContainer: (sys: Syscalls, request: CreateRequest) => Container;
  readonly restoreContainer: (sys: Syscalls, request: RestoreRequest) => Container;
  readonly log: ShimLog;
  /** Told how many clients are connected, whenever that changes. */
  readonly onConnections?: (count: number) => void;
}

/** Which container a shim is for. */
export interface Assignment {
  readonly namespace: string;
  readonly id: string;
  /** The supervisor's event socket; undefined: events go nowhere. */
  readonly eventsPath: string | undefined;
  readonly log: ShimLog;
  /** Called at the end of a shim that was told to shut down, when everything was said: removes what was made for it. */
  readonly release: () => void;
}

/** What is there from the assignment on. */
interface Duty {
  readonly queue: EventQueue;
  readonly service: TaskService;
  readonly release: () => void;
}

export class ShimProcess {
  readonly server: TtrpcServer;
  readonly #parts: ShimParts;
  readonly #reaper: Reaper;
  readonly #done: Promise<void>;
  readonly #removeHandlers: () => void;
  #log: ShimLog;
  #duty: Duty | undefined;
  #shutDown = (): void => undefined;

  /** From now on this process collects its children and the orphans below it, and its signals are handled. */
  constructor(parts: ShimParts) {
    const { sys, log, onConnections } = parts;
    this.#parts = parts;
    this.#log = log;
    sys.prctl(PR_SET_CHILD_SUBREAPER, 1n);
    sys.ignoreSignal(signals['SIGPIPE'] ?? 13, true);
    this.#reaper = new Reaper({ sys, nowNs, onOrphan: (exit) => this.#log.debug('reaped', { pid: exit.pid }) });
    this.server = new TtrpcServer({
      onError: (err) => this.#log.debug('ttrpc', { error: messageOf(err) }),
      ...(onConnections === undefined ? {} : { onConnections }),
    });
    this.#done = new Promise((resolve) => {
      this.#shutDown = resolve;
    });
    this.#removeHandlers = this.#handleSignals();
    this.#reaper.start();
  }

  get isAssigned(): boolean {
    return this.#duty !== undefined;
  }

  /** Serves the task API for one container from now on. Throws failed precondition when it does already. */
  assign(assignment: Assignment): void {
    if (this.#duty !== undefined) throw failedPrecondition('this shim has a container already');
    const { sys } = this.#parts;
    const { id, log, release } = assignment;
    this.#log = log;
    const queue = new EventQueue({ connect: async () => await connectEvents(assignment), nowNs, log });
    const service = new TaskService({
      ...this.#parts,
      ...assignment,
      reaper: this.#reaper,
      queue,
      nowNs,
      events: new TaskEvents(queue, id),
      joinCgroup: (path) => openCgroup(detectCgroups(), path).addProcess(sys.getpid()),
      onShutdown: () => this.shutDown(),
    });
    this.server.register(taskV3.TaskService, service).register(taskV2.TaskService, service);
    this.#duty = { queue, service, release };
  }

  /** Makes `run` resolve. */
  shutDown(): void {
    this.#shutDown();
  }

  /** Resolves with the exit code when the shim was told to shut down and has said what it had to say. */
  async run(): Promise<number> {
    await this.#done;
    // The answer to Shutdown leaves with this turn of the loop.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#duty === undefined) return 0;
    const { queue, release } = this.#duty;
    if (!(await queue.flush(flushTimeoutMs))) this.#log.warn('events were not taken', { left: queue.length });
    release();
    return 0;
  }

  /** Gives back every descriptor, timer and handler. */
  async close(): Promise<void> {
    this.#duty?.queue.close();
    await this.server.close();
    this.#reaper.stop();
    this.#removeHandlers();
  }

  /** Installs the handlers the header tells of; returns what takes them away. */
  #handleSignals(): () => void {
    const onEnd = (signal: NodeJS.Signals): void => {
      if (this.#duty?.service.isOccupied === true) this.#log.warn(`${signal} is ignored while there is a container`);
      else this.shutDown();
    };
    const onDump = (): void => {
      const { rss, heapUsed, external } = process.memoryUsage();
      this.#log.info('state', {
        rss,
        heap_used: heapUsed,
        external,
        active: process.getActiveResourcesInfo().join(','),
      });
    };
    // One broken callback must not end the shim: the container's stdio and exit status would go with it.
    const onUncaught = (err: unknown): void =>
      this.#log.error('uncaught', { error: err instanceof Error ? (err.stack ?? err.message) : String(err) });
    process.on('SIGTERM', onEnd).on('SIGINT', onEnd).on('SIGUSR1', onDump);
    process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught);
    return () => {
      process.off('SIGTERM', onEnd).off('SIGINT', onEnd).off('SIGUSR1', onDump);
      process.off('uncaughtException', onUncaught).off('unhandledRejection', onUncaught);
    };
  }
}

/** A shim that was told of no event socket takes every event for delivered. */
async function connectEvents({ eventsPath, namespace }: Assignment): Promise<EventConnection> {
  if (eventsPath !== undefined) return await connectToEvents(eventsPath, namespace);
  return { closed: false, close: () => undefined, forward: async () => undefined };
}
