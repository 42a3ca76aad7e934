/** The fifos of a container's output, as `ctr run` makes them, with this process reading them. */
import { AT_FDCWD, linux, S_IFIFO } from '@gantry/libc';
import { constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import path from 'node:path';
import type { Stdio } from './steps.ts';

/** Makes a fifo that only its owner may open. */
export function makeFifo(file: string): void {
  linux.mknodat(AT_FDCWD, file, S_IFIFO | 0o600, 0n);
}

/** Owned by whoever made them: disposing closes and removes them. */
export class Pipes implements Disposable {
  readonly paths: Stdio;
  readonly #readers: readonly Socket[];

  private constructor(paths: Stdio, readers: readonly Socket[]) {
    this.paths = paths;
    this.#readers = readers;
  }

  static make(dir: string, id: string): Pipes {
    const files = ['out', 'err'].map((name) => path.join(dir, `${id}-${name}`));
    const readers = files.map((file) => {
      makeFifo(file);
      // Non-blocking: a blocking open would wait for the writer in a thread of Node's pool.
      const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: true, writable: false }).resume();
    });
    const [stdout = '', stderr = ''] = files;
    return new Pipes({ stdin: '', stdout, stderr }, readers);
  }

  /** Resolves when every writer has closed both. */
  async drained(): Promise<void> {
    await Promise.all(
      this.#readers.map((reader) => {
        if (reader.readableEnded || reader.destroyed) return undefined;
        return new Promise((resolve) => {
          reader.once('end', resolve);
          reader.once('close', resolve);
        });
      }),
    );
  }

  [Symbol.dispose](): void {
    for (const reader of this.#readers) reader.destroy();
    for (const file of [this.paths.stdout, this.paths.stderr]) rmSync(file, { force: true });
  }
}
