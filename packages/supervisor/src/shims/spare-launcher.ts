/**
 * The launcher: a pool of spare shims, made ahead of time and connected, so that a create waits for no process.
 *
 *   nursery.bear ─► connect ─► [spare spare …] ─► launch: makeBundle ─► Adopt (the caller's Create follows at once)
 *
 * A spare that dies in the pool is dropped. When the pool is empty a launch waits for a birth of its own. The pool is
 * filled again off the hot path, when no launch has come for a moment.
 */
import { unlink } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, unavailable } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import type { Timeouts } from '../timeouts.ts';
import { ShimConnection } from './connection.ts';
import { runCleanUp } from './clean-up.ts';
import type { BundleContents, LaunchedShim, Remains, ShimLauncher, ShimRequest } from './launcher.ts';
import type { Nursery } from './nursery.ts';
import { killProcess, processGone } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';

export interface SpareLauncherOptions {
  readonly nursery: Nursery;
  /** How many spares are kept. */
  readonly spares: number;
  /** Where spares have their sockets. */
  readonly socketDir: string;
  /** The socket that takes shims' events. */
  readonly eventsPath: string;
  /** The node program that cleans up after dead shims. */
  readonly node: string;
  readonly timeouts: Timeouts;
  readonly log: { warn(fields: object, text: string): void };
}

interface Spare {
  readonly process: ProcessIdentity;
  readonly connection: ShimConnection;
  readonly socketPath: string;
}

interface Waiter {
  readonly resolve: (spare: Spare) => void;
  readonly reject: (err: unknown) => void;
}

/** How many are born at a time: a zygote forks one after the other, but each then needs a moment to come up. */
const maxBirths = 8;
/** After the last launch, before the pool is filled again. */
const refillDelayMs = 4;
/** After a birth failed that nobody was waiting for. */
const retryDelayMs = 1000;

export class SpareLauncher implements ShimLauncher {
  readonly #options: SpareLauncherOptions;
  readonly #spares: Spare[] = [];
  readonly #waiters: Waiter[] = [];
  #births = 0;
  #named = 0;
  #refill: NodeJS.Timeout | undefined;
  #misses = false;
  #closed = false;

  constructor(options: SpareLauncherOptions) {
    this.#options = options;
  }

  /** Fills the pool for the first time. */
  start(): void {
    this.#fill();
  }

  async launch(
    request: ShimRequest,
    contents: BundleContents,
    makeBundle: (shim: ProcessIdentity) => Promise<void>,
  ): Promise<LaunchedShim> {
    const spare = await this.#take();
    const { process, connection } = spare;
    try {
      await makeBundle(process);
    } catch (err) {
      connection.close(); // a spare that is left ends by itself
      throw err;
    }
    const { namespace, id, bundle, socketPath } = request;
    const adopted = connection.adopt(
      {
        namespace,
        id,
        bundle,
        socket: socketPath,
        events: this.#options.eventsPath,
        config: contents.config,
        options: Buffer.from(contents.optionsJson),
      },
      this.#options.timeouts.shimStartMs,
    );
    adopted.catch(() => removeSocket(spare)); // it may have died of something that leaves no time for that
    return { process, connection, adopted };
  }

  async cleanUp(request: ShimRequest): Promise<Remains> {
    return await runCleanUp(this.#options.node, request, this.#options.timeouts.shimCleanupMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refill);
    for (const { reject } of this.#waiters.splice(0)) reject(closing());
    const left = this.#spares.splice(0);
    for (const { connection } of left) connection.close();
    await this.#options.nursery.close();
    await Promise.all(left.map(({ process }) => processGone(process, this.#options.timeouts.shimShutdownMs)));
  }

  #take(): Promise<Spare> {
    if (this.#closed) return Promise.reject(closing());
    this.#refillLater(refillDelayMs);
    for (let spare = this.#spares.shift(); spare !== undefined; spare = this.#spares.shift()) {
      if (!spare.connection.closed) return Promise.resolve(spare);
      removeSocket(spare);
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#bearForWaiters();
    });
  }

  #refillLater(delayMs: number): void {
    clearTimeout(this.#refill);
    if (this.#closed) return;
    this.#refill = setTimeout(() => this.#fill(), delayMs);
    this.#refill.unref();
  }

  #fill(): void {
    for (let i = Math.min(this.#missing(), maxBirths - this.#births); i > 0; i -= 1) void this.#bear();
  }

  #missing(): number {
    return this.#options.spares + this.#waiters.length - this.#spares.length - this.#births;
  }

  #bearForWaiters(): void {
    if (this.#births < Math.min(this.#waiters.length, maxBirths)) void this.#bear();
  }

  /** Never rejects: the outcome goes to whoever waits, or into the pool. */
  async #bear(): Promise<void> {
    this.#births += 1;
    let err: unknown;
    const spare = await this.#newSpare().catch((reason: unknown) => {
      err = reason;
      return undefined;
    });
    this.#births -= 1;
    if (spare !== undefined) this.#welcome(spare);
    else this.#miss(err);
    if (this.#waiters.length > 0) this.#bearForWaiters();
    // After a burst the pool is empty, and the timer that was to fill it has found everybody busy.
    else if (spare !== undefined && this.#missing() > 0) this.#refillLater(refillDelayMs);
  }

  /** A birth failed. What keeps failing is said once. */
  #miss(err: unknown): void {
    this.#refillLater(retryDelayMs);
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.reject(err);
      return;
    }
    if (this.#misses || this.#closed) return;
    this.#misses = true;
    this.#options.log.warn({ err: messageOf(err) }, 'no spare shim can be had; trying again');
  }

  async #newSpare(): Promise<Spare> {
    const { nursery, socketDir, timeouts } = this.#options;
    const socketPath = path.join(socketDir, `${globalThis.process.pid}-${(this.#named += 1)}`);
    let process: ProcessIdentity | undefined;
    try {
      process = await nursery.bear(socketPath);
      return { process, socketPath, connection: await ShimConnection.connect(socketPath, timeouts.shimLoadMs) };
    } catch (err) {
      if (process !== undefined) killProcess(process);
      removeSocket({ socketPath }); // it may have listened and died before it said so
      throw err;
    }
  }

  #welcome(spare: Spare): void {
    this.#misses = false;
    if (this.#closed) {
      spare.connection.close();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve(spare);
      return;
    }
    this.#spares.push(spare);
    spare.connection.onClose(() => {
      const at = this.#spares.indexOf(spare);
      if (at < 0) return; // it has its container
      this.#spares.splice(at, 1);
      removeSocket(spare);
      this.#refillLater(refillDelayMs);
    });
  }
}

function closing(): GantryError {
  return unavailable('no shim is launched any more: gantryd is stopping');
}

/** A spare that ends removes its socket itself, unless it was killed. */
function removeSocket({ socketPath }: Pick<Spare, 'socketPath'>): void {
  unlink(socketPath).catch(() => undefined);
}
