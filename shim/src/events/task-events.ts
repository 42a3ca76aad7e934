/**
 * The events of a container in the field's topics and types. Order is kept by whoever calls: create → start →
 * (exec-added → exec-started →) exit → delete, the exit of init after the exits of its execs.
 */
import { events, timestampFromNs } from '@gantry/api/shim';
import type { MessageType, types } from '@gantry/api/shim';
import type { Exit } from '../process/reaper.ts';
import type { EventQueue } from './event-queue.ts';

/** What TaskCreate tells of a container beside its id. */
export interface CreateFacts {
  readonly bundle: string;
  readonly rootfs: readonly types.Mount[];
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly pid: number;
}

/** The supervisor has asked for it and gets the answer. */
const known = { canWait: true };

export class TaskEvents {
  readonly #queue: EventQueue;
  readonly #containerId: string;

  constructor(queue: EventQueue, containerId: string) {
    this.#queue = queue;
    this.#containerId = containerId;
  }

  created(facts: CreateFacts): void {
    const { bundle, pid, stdin, stdout, stderr, terminal } = facts;
    const io = events.TaskIO.create({ stdin, stdout, stderr, terminal });
    this.#publish('/tasks/create', events.TaskCreate, { bundle, rootfs: [...facts.rootfs], io, pid }, known);
  }

  started(pid: number): void {
    this.#publish('/tasks/start', events.TaskStart, { pid }, known);
  }

  execAdded(execId: string): void {
    this.#publish('/tasks/exec-added', events.TaskExecAdded, { execId }, known);
  }

  execStarted(execId: string, pid: number): void {
    this.#publish('/tasks/exec-started', events.TaskExecStarted, { execId, pid }, known);
  }

  /** `id` is the container's for init, the exec's otherwise. */
  exited(id: string, exit: Exit): void {
    const { pid, exitStatus } = exit;
    this.#publish('/tasks/exit', events.TaskExit, { id, pid, exitStatus, exitedAt: timestampFromNs(exit.exitedAtNs) });
  }

  deleted(exit: Exit): void {
    const { pid, exitStatus } = exit;
    this.#publish('/tasks/delete', events.TaskDelete, { pid, exitStatus, exitedAt: timestampFromNs(exit.exitedAtNs) });
  }

  paused(): void {
    this.#publish('/tasks/paused', events.TaskPaused, {});
  }

  resumed(): void {
    this.#publish('/tasks/resumed', events.TaskResumed, {});
  }

  checkpointed(): void {
    this.#publish('/tasks/checkpointed', events.TaskCheckpointed, {});
  }

  /** Said once while the last such event has not been taken yet: a storm of kills must not grow the shim. */
  oom(): void {
    if (this.#queue.lastTopic !== '/tasks/oom') this.#publish('/tasks/oom', events.TaskOOM, {});
  }

  #publish<T extends { containerId: string }>(
    topic: string,
    type: MessageType<T>,
    fields: Partial<T>,
    manner = {},
  ): void {
    const message = Object.assign(type.create(), fields, { containerId: this.#containerId });
    this.#queue.publish(topic, type.typeName, type.encode(message), manner);
  }
}
