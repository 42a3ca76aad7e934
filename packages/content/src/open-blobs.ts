/**
 * Files of blobs that are open for reading. Clients that read at offsets ask for a blob thousands of times in pieces of a few
 * kilobytes; opening and closing the file each time would cost more than reading it.
 */
import { close, open, read } from 'node:fs';
import type { Digest } from '@gantry/oci';

/** How long a file that nobody reads stays open. */
const idleMs = 2_000;

/** Files kept open without a reader. */
const maximumIdle = 32;

interface OpenFile {
  readonly fd: Promise<number>;
  readers: number;
  timer: NodeJS.Timeout | undefined;
  /** Closed by its last reader: the blob was removed. */
  gone: boolean;
}

export class OpenBlobs {
  readonly #files = new Map<Digest, OpenFile>();

  /** Runs `use` with the blob's file; others may read it at the same time. Throws what open(2) says. */
  async with<T>(digest: Digest, file: string, use: (fd: number) => Promise<T>): Promise<T> {
    const entry = this.#take(digest, file);
    try {
      return await use(await entry.fd);
    } finally {
      entry.readers -= 1;
      if (entry.readers === 0) this.#rest(digest, entry);
    }
  }

  /** Lets go of a blob that is removed; readers under way read on. */
  forget(digest: Digest): void {
    const entry = this.#files.get(digest);
    if (entry === undefined) return;
    this.#files.delete(digest);
    entry.gone = true;
    if (entry.readers === 0) shut(entry);
  }

  #take(digest: Digest, file: string): OpenFile {
    const known = this.#files.get(digest);
    if (known !== undefined) {
      clearTimeout(known.timer);
      known.timer = undefined;
      known.readers += 1;
      return known;
    }
    const entry: OpenFile = { fd: opened(file), readers: 1, timer: undefined, gone: false };
    this.#files.set(digest, entry);
    // Whoever asked has the error; the next one tries again.
    entry.fd.catch(() => this.#files.delete(digest));
    return entry;
  }

  #rest(digest: Digest, entry: OpenFile): void {
    if (entry.gone || this.#files.get(digest) !== entry) {
      shut(entry);
      return;
    }
    const idle = [...this.#files].filter(([, { readers }]) => readers === 0);
    if (idle.length > maximumIdle) {
      const [oldest] = idle;
      if (oldest !== undefined) this.forget(oldest[0]);
    }
    entry.timer = setTimeout(() => this.forget(digest), idleMs);
    entry.timer.unref();
  }
}

/** As read(2): how many bytes there were. */
export function readAt(fd: number, buffer: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, length, position, (err, bytesRead) => (err === null ? resolve(bytesRead) : reject(err)));
  });
}

function opened(file: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(file, 'r', (err, fd) => (err === null ? resolve(fd) : reject(err)));
  });
}

function shut(entry: OpenFile): void {
  clearTimeout(entry.timer);
  entry.fd.then(
    (fd) => close(fd, () => undefined),
    () => undefined,
  );
}
