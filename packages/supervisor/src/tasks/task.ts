/**
 * A task in the supervisor's memory: which shim has it, and what is known when no shim does.
 *
 *               resting                           (a start found it running; its shim is dialled when there is need or time)
 *                   │
 *                   ▼
 *   creating ──► attached ◄──► unreachable        (the shim does not answer; retried)
 *      │            │               │
 *      ▼            ▼               ▼
 *     gone        ended ◄───────────┘             (the shim is dead; the record says how the container ended)
 *                   │
 *                   ▼
 *                 gone (Delete)
 */
import { v1Types } from '@gantry/api';
import { deadlineExceeded, notFound, unavailable } from '@gantry/errors';
import type { ShimConnection } from '../shims/connection.ts';
import type { InitStatus } from '../shims/dial.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { TaskName } from './bundle.ts';
import type { TaskExit, TaskRecord } from './record.ts';

export type TaskState =
  | { readonly kind: 'creating' }
  | { readonly kind: 'attached'; readonly shim: ShimConnection }
  | { readonly kind: 'resting' }
  | { readonly kind: 'unreachable' }
  | { readonly kind: 'ended'; readonly exit: TaskExit }
  | { readonly kind: 'gone' };

export class Task {
  readonly namespace: string;
  readonly id: string;
  /** Its shim is not ours: what it is told of init may be lost on the way, so that it is always asked. */
  readonly isForeign: boolean;
  record: TaskRecord;
  /** Its shim, once it is known. */
  process: ProcessIdentity | undefined;
  /** Set when the shim has deleted its task: its going is no news then, and Delete can be repeated with the same answer. */
  deleted: TaskExit | undefined;
  #state: TaskState = { kind: 'creating' };
  #init: InitStatus | undefined;
  readonly #watchers = new Set<() => void>();

  constructor({ namespace, id }: TaskName, record: TaskRecord, isForeign: boolean) {
    this.namespace = namespace;
    this.id = id;
    this.isForeign = isForeign;
    this.record = record;
  }

  get state(): TaskState {
    return this.#state;
  }

  set state(state: TaskState) {
    this.#state = state;
    this.#wake();
  }

  /** Undefined when only the shim can tell. What ended stays so: answers and events come by different ways. */
  get init(): InitStatus | undefined {
    return this.#init;
  }

  set init(init: InitStatus | undefined) {
    if (this.isForeign) return;
    const ended = this.#init?.status === v1Types.Status.STOPPED;
    if (ended && (init === undefined || init.pid === this.#init?.pid)) return;
    this.#init = init;
    if (init?.status === v1Types.Status.STOPPED) this.#wake();
  }

  /** Another status of an init that is known. */
  become(status: number): void {
    if (this.#init !== undefined) this.init = { ...this.#init, status };
  }

  #wake(): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const watcher of watchers) watcher();
  }

  /** How the task ended, when it is not the shim any more that knows. */
  get exit(): TaskExit | undefined {
    return this.#state.kind === 'ended' ? this.#state.exit : this.deleted;
  }

  /** The connection, for a call that needs the shim now; one that rests is to be woken before. Throws not found or unavailable, saying why there is none. */
  shim(): ShimConnection {
    const { state } = this;
    if (this.exit !== undefined && state.kind !== 'gone')
      throw notFound('process already finished', { container: this.id });
    switch (state.kind) {
      case 'attached':
        return state.shim;
      case 'resting':
      case 'unreachable':
        throw unavailable(`task ${this.id}: its shim does not answer`, { container: this.id });
      default:
        throw notFound(`task ${this.id} not found`, { container: this.id });
    }
  }

  /** Resolves at the next change of state, or when init has ended; rejects when `signal` is aborted first. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onChange = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = (): void => {
        this.#watchers.delete(onChange);
        reject(deadlineExceeded(`task ${this.id}: the caller gave up`));
      };
      if (signal.aborted) {
        onAbort();
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });
      this.#watchers.add(onChange);
    });
  }
}
