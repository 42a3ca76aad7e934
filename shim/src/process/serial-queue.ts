/** One after the other: the state changes of one process. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything that was given before has ended, well or badly; settles as `work` does. */
  async run<T>(work: () => Promise<T> | T): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine.catch(() => undefined);
    return await mine;
  }
}
