/** What a call that fails half-way has to undo: the newest first, every step tried, none of them hiding the failure. */

export class CleanUp {
  readonly #steps: (() => void)[] = [];

  add(step: () => void): void {
    this.#steps.push(step);
  }

  /** Undoes everything. Failures of single steps are returned, because the caller has a better error to throw. */
  run(): unknown[] {
    const failures: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        step();
      } catch (err) {
        failures.push(err);
      }
    }
    return failures;
  }
}

/** Descriptors that a call has open; closed together, also when it succeeds. */
export class Descriptors implements Disposable {
  readonly #sys: { close(fd: number): void };
  readonly #fds = new Set<number>();

  constructor(sys: { close(fd: number): void }) {
    this.#sys = sys;
  }

  /** Takes a descriptor over. */
  keep(fd: number): number {
    this.#fds.add(fd);
    return fd;
  }

  /** Gives a descriptor away: it is not closed here any more. */
  release(fd: number): number {
    this.#fds.delete(fd);
    return fd;
  }

  close(fd: number): void {
    if (this.#fds.delete(fd)) this.#sys.close(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) this.#sys.close(fd);
    this.#fds.clear();
  }
}
