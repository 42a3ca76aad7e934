/** Counts what the kernel kills in the container's cgroup for memory, as it happens. */
import { messageOf } from '@gantry/errors';
import { watchReadable } from '@gantry/libc';
import type { OomWatch as KillNotice } from '@gantry/cgroups';
import type { ShimLog } from './log.ts';

/** What a container tells of kills (packages/cgroups). */
export interface OomSource {
  /** Kills since the cgroup was made. */
  kills(): number;
  /** Notice of the next ones; `seen` are known already. Its descriptor is -1 without a memory controller. */
  watch(seen: number): KillNotice;
}

/** A container that ends sooner is only asked at its end: the kernel keeps count, and a watch costs more than a glance. */
export const firstLookMs = 50;

export class OomWatch {
  readonly #source: OomSource;
  readonly #onKill: () => void;
  readonly #log: ShimLog;
  #begin: NodeJS.Timeout | undefined;
  #notice: KillNotice | undefined;
  #unwatch: (() => void) | undefined;
  #kills = 0;
  #closed = false;

  /** Watches from now on. `onKill` is called once for each look that found kills. */
  constructor(source: OomSource, onKill: () => void, log: ShimLog) {
    this.#source = source;
    this.#onKill = onKill;
    this.#log = log;
    this.#begin = setTimeout(() => this.#watch(), firstLookMs);
  }

  get kills(): number {
    return this.#kills;
  }

  /**
   * Reads what is new; also called at the exit, when the kernel's note may still be on its way. Never throws: when the
   * cgroup cannot be read any more, what was counted stays and the watch ends.
   */
  look(): void {
    if (this.#closed) return;
    let fresh = 0;
    try {
      fresh = this.#notice === undefined ? this.#source.kills() - this.#kills : this.#notice.read();
    } catch {
      this.close();
    }
    if (fresh <= 0) return;
    this.#kills += fresh;
    this.#onKill();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#begin);
    this.#unwatch?.();
    this.#notice?.close();
  }

  #watch(): void {
    this.#begin = undefined;
    try {
      const notice = this.#source.watch(this.#kills);
      this.#notice = notice;
      if (notice.fd >= 0) this.#unwatch = watchReadable(notice.fd, () => this.look());
    } catch (err) {
      this.#log.warn('no out-of-memory watch', { error: messageOf(err) });
    }
    this.look();
  }
}
