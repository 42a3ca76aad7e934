/** Counts what the kernel kills in the container's cgroup for memory, as it happens. */
import { watchReadable } from '@gantry/libc';

/**
 * What a cgroup gives to watch (packages/cgroups): a descriptor (-1 without a memory controller), and how many kills
 * are new since the last look.
 */
export interface OomSource {
  readonly fd: number;
  read(): number;
  close(): void;
}

export class OomWatch {
  readonly #source: OomSource;
  readonly #onKill: () => void;
  readonly #unwatch: () => void;
  #kills = 0;
  #closed = false;

  /** Takes the source over. `onKill` is called once for each look that found kills. */
  constructor(source: OomSource, onKill: () => void) {
    this.#source = source;
    this.#onKill = onKill;
    this.#unwatch = source.fd < 0 ? () => undefined : watchReadable(source.fd, () => this.look());
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
      fresh = this.#source.read();
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
    this.#unwatch();
    this.#source.close();
  }
}
