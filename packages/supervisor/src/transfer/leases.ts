/**
 * The leases of transfers: what has come is held until the image's record exists.
 *
 * A transfer that fails for a reason that may pass (a network, a cancellation, a crash of gantryd) leaves its lease behind
 * for a while, so that the next one for the same subject finds what has come already; that one takes the lease over, and
 * its success ends it.
 */
import { randomBytes } from 'node:crypto';
import { leases, timestampNow } from '@gantry/api';
import { codeOf, GantryError } from '@gantry/errors';
import { keys, requireLease } from '@gantry/store';
import type { Store } from '@gantry/store';
import type { GarbageCollector } from '../gc/collector.ts';
import { expireLabel } from '../gc/labels.ts';
import { deleteLease } from '../services/leases.ts';
import { ensureNamespace } from '../services/namespace-records.ts';

/** The label that says what a lease is for. */
const subjectLabel = 'io.gantry/transfer';

/** A lease outlives a transfer that hangs, or a gantryd that died, by no more than this. */
const lifetimeMs = 24 * 60 * 60 * 1000;

/** How long what has come is kept for another attempt. */
const interruptedLifetimeMs = 60 * 60 * 1000;

export interface LeasedSubject {
  readonly namespace: string;
  /** The lease of the caller, which is used instead and left to him. */
  readonly lease: string | undefined;
  /** What is transferred: `pull docker.io/library/busybox:latest`. */
  readonly subject: string;
}

export class TransferLeases {
  readonly #store: Store;
  readonly #gc: Pick<GarbageCollector, 'schedule'>;
  /** `namespace/id` of those whose transfers run in this process. */
  readonly #live = new Set<string>();

  constructor({ store, gc }: { readonly store: Store; readonly gc: Pick<GarbageCollector, 'schedule'> }) {
    this.#store = store;
    this.#gc = gc;
  }

  /** Runs `fn` under a lease. Throws not found for a caller's lease that does not exist, and what `fn` throws. */
  async with<T>({ namespace, lease, subject }: LeasedSubject, fn: (lease: string) => Promise<T>): Promise<T> {
    if (lease !== undefined && lease !== '') {
      requireLease(this.#store, namespace, lease);
      return fn(lease);
    }
    const id = await this.#take(namespace, subject);
    try {
      const result = await fn(id);
      await this.#end(namespace, [id, ...this.#leftBehind(namespace, subject)]);
      return result;
    } catch (err) {
      if (mayPass(err) && this.#holdsAnything(namespace, id)) {
        await this.#write(namespace, id, subject, interruptedLifetimeMs);
      } else {
        await this.#end(namespace, [id]);
      }
      throw err;
    } finally {
      this.#live.delete(`${namespace}/${id}`);
    }
  }

  /** The lease that an earlier transfer of this left behind, or a new one. */
  async #take(namespace: string, subject: string): Promise<string> {
    const [left] = this.#leftBehind(namespace, subject);
    const id = left ?? `transfer-${randomBytes(9).toString('base64url')}`;
    this.#live.add(`${namespace}/${id}`);
    await this.#write(namespace, id, subject, lifetimeMs);
    return id;
  }

  async #write(namespace: string, id: string, subject: string, forMs: number): Promise<void> {
    const labels = { [subjectLabel]: subject, [expireLabel]: new Date(Date.now() + forMs).toISOString() };
    await this.#store.transact((tx) => {
      const old = tx.get(keys.leases(namespace, id));
      const createdAt = old === undefined ? timestampNow() : leases.Lease.decode(old).createdAt;
      ensureNamespace(tx, namespace);
      tx.put(keys.leases(namespace, id), leases.Lease.encode({ id, createdAt, labels }));
    });
  }

  async #end(namespace: string, ended: readonly string[]): Promise<void> {
    await this.#store.transact((tx) => {
      for (const lease of ended) deleteLease(tx, namespace, lease);
    });
    this.#gc.schedule();
  }

  #holdsAnything(namespace: string, id: string): boolean {
    const [held] = this.#store.scan(keys.leaseResources(namespace, id), { limit: 1 });
    return held !== undefined;
  }

  #leftBehind(namespace: string, subject: string): string[] {
    const found: string[] = [];
    for (const { value } of this.#store.scan(keys.leases(namespace))) {
      const { id, labels } = leases.Lease.decode(value);
      if (labels[subjectLabel] === subject && !this.#live.has(`${namespace}/${id}`)) found.push(id);
    }
    return found;
  }
}

/** True when trying again may help; a full disk is better emptied. */
function mayPass(err: unknown): boolean {
  const code = codeOf(err);
  if (code === 'unavailable' || code === 'cancelled' || code === 'deadline exceeded') return true;
  return code === 'resource exhausted' && err instanceof GantryError && err.details['status'] === 429;
}
