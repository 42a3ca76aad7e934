/**
 * Garbage collection: what nothing refers to any more leaves the metadata and then the disk.
 *
 *     schedule ─► (pause) ─► mark a snapshot in slices ─► nothing found: done
 *                                                      └► found: per namespace, mark again and sweep in one transaction ─► files
 *
 * The first marking costs nobody anything and usually finds nothing to do. The second sees everything that was written
 * meanwhile, durable or not, because it runs inside the transaction that removes; so nothing that became referenced
 * since is taken, and new objects are safe as soon as the transaction that made them also leased or referenced them.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ContentStore } from '@gantry/content';
import { failpoint, isCode, unavailable } from '@gantry/errors';
import type { SnapshotStore } from '@gantry/snapshots';
import type { Dated, Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { namespaceOf } from './graph.ts';
import { defaultGcConfig } from './pace.ts';
import type { GcConfig } from './pace.ts';
import { finish, mark } from './read-graph.ts';
import type { Marked } from './read-graph.ts';
import { announce, sweep } from './sweep.ts';
import type { Swept } from './sweep.ts';

/** What a run removed, in numbers of objects. */
export interface GcStats {
  /** Looked at. */
  readonly objects: number;
  readonly content: number;
  readonly snapshots: number;
  readonly images: number;
  readonly leases: number;
  readonly ingests: number;
  /** Files of blobs that no namespace had any more. */
  readonly blobs: number;
  /** Objects that could not be removed and are tried again by the next run. */
  readonly errors: number;
  readonly durationMs: number;
}

/** Where a run's outcome is told; pino's logger is one. */
export interface GcLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface GarbageCollectorComponents {
  readonly store: Store;
  readonly content: Pick<ContentStore, 'abort' | 'deleteIn' | 'removeDoomedIngests' | 'removeUnreferencedBlobs'>;
  readonly snapshots: Pick<SnapshotStore, 'doom' | 'removeDoomed' | 'removeIn' | 'snapshotters'>;
  readonly events: Publisher;
  readonly log?: GcLog;
  readonly config?: Partial<GcConfig>;
}

/** A run counts as no shorter than this when the pause after it is computed. */
const minimumRunMs = 5;

/** The longest a timer is set for; what expires later is looked at again then. */
const longestWaitMs = 24 * 60 * 60 * 1000;

export class GarbageCollector {
  /** What it works by. */
  readonly config: GcConfig;
  readonly #components: GarbageCollectorComponents;
  #timer: NodeJS.Timeout | undefined;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #deletions = 0;
  #mutations = 0;
  #running: Promise<GcStats> | undefined;
  /** The run that begins when the one under way has ended; everybody who asked meanwhile waits for it. */
  #following: Promise<GcStats> | undefined;
  /** Not before this (milliseconds of the monotonic clock) does a scheduled run begin. */
  #restUntilMs = 0;
  #averageMs = minimumRunMs;
  /** How long the run under way has kept the loop: what counts against the pause threshold. */
  #busyMs = 0;
  #closed = false;

  constructor(components: GarbageCollectorComponents) {
    this.#components = components;
    this.config = { ...defaultGcConfig, ...components.config };
    components.store.onWrite(() => this.#mutated());
  }

  /** Plans the first run: what an earlier daemon left. */
  start(): void {
    this.#wakeAt(performance.now() + this.config.startupDelayMs);
  }

  /** Says that something was deleted: a run follows soon, at the pace of the configuration. Returns at once. */
  schedule(): void {
    const { deletionThreshold, scheduleDelayMs } = this.config;
    this.#deletions++;
    const soonMs = performance.now() + scheduleDelayMs;
    const isUrgent = deletionThreshold > 0 && this.#deletions >= deletionThreshold;
    this.#wakeAt(isUrgent ? soonMs : Math.max(soonMs, this.#restUntilMs));
  }

  #mutated(): void {
    const { mutationThreshold, scheduleDelayMs } = this.config;
    this.#mutations++;
    if (mutationThreshold === 0 || this.#mutations !== mutationThreshold) return;
    this.#wakeAt(Math.max(performance.now() + scheduleDelayMs, this.#restUntilMs));
  }

  /**
   * Collects now and resolves when everything that was garbage at the call is gone, on disk too. Joins a run that has
   * not begun, never one that has: that one may have looked already. What could not be removed is
   * counted and tried again by the next run. Rejects with unavailable when closed.
   */
  async run(): Promise<GcStats> {
    if (this.#closed) throw unavailable('garbage collector is closed');
    if (this.#running === undefined) return this.#begin();
    this.#following ??= this.#running.then(ignore, ignore).then(() => {
      this.#following = undefined;
      if (this.#closed) throw unavailable('garbage collector is closed');
      return this.#begin();
    });
    return this.#following;
  }

  /** Ends the schedule and waits for the run under way. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running?.catch(ignore);
    await this.#following?.catch(ignore);
  }

  #begin(): Promise<GcStats> {
    this.#deletions = 0;
    this.#mutations = 0;
    const run = this.#collect().finally(() => {
      this.#running = undefined;
    });
    this.#running = run;
    return run;
  }

  #wakeAt(dueMs: number): void {
    if (this.#closed || (this.#timer !== undefined && this.#timerDueMs <= dueMs)) return;
    clearTimeout(this.#timer);
    this.#timerDueMs = dueMs;
    const waitMs = Math.min(Math.max(0, dueMs - performance.now()), longestWaitMs);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.run().catch((err: unknown) => this.#failed(err));
    }, waitMs);
    this.#timer.unref();
  }

  #failed(err: unknown): void {
    // Closing while a run waits is not worth a line.
    if (this.#closed && isCode(err, 'unavailable')) return;
    this.#components.log?.warn({ err }, 'garbage collection failed');
  }

  async #collect(): Promise<GcStats> {
    const { log } = this.#components;
    const startedMs = performance.now();
    this.#busyMs = 0;
    const marked = await this.#markInSlices();
    const errors: unknown[] = [...marked.errors];
    const sweeps: Swept[] = [];
    for (const namespace of new Set(marked.garbage.map(namespaceOf))) {
      try {
        sweeps.push(await this.#sweepNamespace(namespace, marked));
      } catch (err) {
        errors.push(err);
      }
    }
    const counts = { content: 0, snapshots: 0, images: 0, leases: 0, ingests: 0 };
    for (const swept of sweeps) {
      counts.content += swept.content.length;
      counts.snapshots += swept.snapshots.length;
      counts.images += swept.images.length;
      counts.leases += swept.leases.length;
      counts.ingests += await this.#removeFiles(swept, errors);
    }
    const { content, snapshots } = this.#components;
    errors.push(...(await snapshots.removeDoomed()), ...(await content.removeDoomedIngests()));
    await failpoint('gc.after-trees');
    const blobs = await this.#removeBlobs(errors);
    const durationMs = performance.now() - startedMs;
    this.#rest(this.#busyMs, marked.nextExpiryMs);
    const { objects } = marked;
    const stats = { objects, ...counts, blobs, errors: errors.length, durationMs: Math.round(durationMs) };
    const [first] = errors;
    if (first !== undefined) log?.warn({ ...stats, err: first }, 'garbage collection left something behind');
    else if (sweeps.length > 0 || blobs > 0) log?.info({ ...stats }, 'garbage collected');
    return stats;
  }

  /** Over a consistent view and letting others run in between. What it finds is a reason to look again, no more. */
  async #markInSlices(): Promise<Marked & Dated> {
    using view = this.#components.store.snapshot();
    const steps = mark(view, Date.now());
    for (;;) {
      const { done, value } = this.#timed(() => steps.next());
      if (done === true) return { ...value, generation: view.generation };
      await nextTurn();
    }
  }

  /**
   * Removes the records of a namespace's garbage in one transaction, which marks the namespace again when anything at all was
   * written since the first marking.
   */
  async #sweepNamespace(namespace: string, marked: Marked & Dated): Promise<Swept> {
    const { store, content, snapshots, events } = this.#components;
    const swept = await store.transact((tx) =>
      this.#timed(() => {
        const isCurrent = tx.generation === marked.generation;
        const { garbage } = isCurrent ? marked : finish(mark(tx, Date.now(), namespace));
        return sweep(
          tx,
          garbage.filter((id) => namespaceOf(id) === namespace),
          { content, snapshots },
        );
      }),
    );
    for (const { snapshotter, treeId } of swept.snapshots) snapshots.doom(snapshotter, treeId);
    await failpoint('gc.after-records');
    announce(events, swept);
    return swept;
  }

  #timed<T>(fn: () => T): T {
    const startedMs = performance.now();
    const result = fn();
    this.#busyMs += performance.now() - startedMs;
    return result;
  }

  /** Removes what is not metadata; gives the number of ingests. */
  async #removeFiles(swept: Swept, errors: unknown[]): Promise<number> {
    const { content } = this.#components;
    errors.push(...swept.errors);
    let ingests = 0;
    for (const { namespace, ref } of swept.ingests) {
      try {
        await content.abort(namespace, ref);
        ingests++;
      } catch (err) {
        // Committed or aborted by its owner in between.
        if (!isCode(err, 'not found')) errors.push(err);
      }
    }
    return ingests;
  }

  async #removeBlobs(errors: unknown[]): Promise<number> {
    try {
      const removed = await this.#components.content.removeUnreferencedBlobs((err) => errors.push(err));
      return removed.length;
    } catch (err) {
      errors.push(err);
      return 0;
    }
  }

  /** Plans the pause after a run, and the run that the next expiry needs. */
  #rest(busyMs: number, nextExpiryMs: number | undefined): void {
    const { pauseThreshold } = this.config;
    this.#averageMs = Math.max(minimumRunMs, (this.#averageMs + busyMs) / 2);
    const share = Math.min(Math.max(pauseThreshold, 0.001), 0.5);
    this.#restUntilMs = performance.now() + this.#averageMs / share - this.#averageMs;
    if (nextExpiryMs === undefined) return;
    this.#wakeAt(Math.max(performance.now() + (nextExpiryMs - Date.now()), this.#restUntilMs));
  }
}

function ignore(): void {
  // Whoever asked for the run has its error.
}
