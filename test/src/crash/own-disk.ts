/** A gantryd whose root is a file system of its own, and what fills it. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { codeOf, messageOf } from '@gantry/errors';
import {
  busyboxLayer,
  gantryd,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  sha256,
  StoredImages,
  tar,
  until,
} from '../index.ts';
import type { DaemonProcess, Marker } from '../index.ts';

/** An image whose second layer has so many random bytes, and the marker. */
export function image(
  name: string,
  size: number,
): { readonly name: string; readonly bytes: Buffer; readonly marker: Marker } {
  const full = `docker.io/library/${name}:latest`;
  const body = randomBytes(10_000);
  const layer = tar([
    { name: `large-${name}`, body: randomBytes(size) },
    { name: `marker-${name}`, body },
  ]);
  const marker = { file: `marker-${name}`, sha256: sha256(body).slice('sha256:'.length) };
  return { name: full, bytes: ociArchive({ layers: [busyboxLayer(), layer], name: full, gzip: false }), marker };
}

export async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

/** How a call failed: its class and what it said; `done` when it did not. */
export async function failure(promise: Promise<unknown>): Promise<readonly [code: string, text: string]> {
  return promise.then(
    () => ['done', ''] as const,
    (err: unknown) => [codeOf(err), messageOf(err)] as const,
  );
}

/** A gantryd whose root is a file system of its own. */
export class OwnDisk {
  readonly dir = scratchDirectory();
  readonly namespace = scratchNamespace('d');
  readonly daemon: DaemonProcess & { root: string; state: string };
  #client: Client | undefined;

  constructor() {
    const config = path.join(this.dir, 'config.toml');
    writeFileSync(config, '[shim]\nspares = 0\n');
    this.daemon = gantryd(this.dir, ['--config', config]);
    mkdirSync(this.daemon.root);
  }

  get client(): Client {
    this.#client ??= connect({ address: this.daemon.address, namespace: this.namespace });
    return this.#client;
  }

  get stored(): StoredImages {
    return new StoredImages(this.client, this.daemon.root);
  }

  async stop(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await this.daemon[how]();
  }

  /** What gantryd had started ends with it, and a moment later. */
  async unmount(): Promise<void> {
    await until(
      'nobody to use the disk any more',
      async () => {
        const { code, stderr } = await run('umount', [this.daemon.root]);
        return code === 0 || /not mounted/.test(stderr);
      },
      60_000,
    );
  }

  async end(): Promise<void> {
    await this.stop('kill');
    await this.unmount();
    removeScratch(this.dir);
  }
}

/** Takes all the room that is left, to the last block. */
export function fill(file: string): void {
  const fd = openSync(file, 'w');
  for (let size = 1 << 20; size >= 512;) {
    try {
      writeSync(fd, Buffer.alloc(size));
    } catch {
      size >>= 1;
    }
  }
  closeSync(fd);
}

/** Writes a file after which so many bytes are left of its file system. */
export function fillUpTo(file: string, leftBytes: number): void {
  const { bavail, bsize } = statfsSync(path.dirname(file));
  const piece = Buffer.alloc(1 << 20);
  const fd = openSync(file, 'w');
  for (let missing = bavail * bsize - leftBytes; missing > 0; missing -= piece.length) {
    writeSync(fd, piece, 0, Math.min(missing, piece.length));
  }
  closeSync(fd);
}
