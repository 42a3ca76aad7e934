/**
 * Blobs in another process, behind containerd's own Content service: its part of `FarContent`. A namespace there has the name that it
 * has here; labels stay here.
 */
import { content } from '@gantry/api';
import type { FarContent } from '@gantry/content';
import { dataLoss, internal, isCode } from '@gantry/errors';
import type { Digest } from '@gantry/oci';
import type { ProxyPlugin } from '../config/proxy-plugins.ts';
import { GrpcPeer } from './grpc-peer.ts';

const service = content.ContentService;
const { info, read, write, abort, delete: remove } = service.methods;
const { WriteAction } = content;

/** What is referred to from here must not be garbage there. */
const rootLabel = 'containerd.io/gc.root';

/** Of one answer: a commit may wait for a slow disk. */
const timeoutMs = 60_000;

/** What it can mean that somebody else is writing the same blob there: they will have it, or give up. */
const lockedPausesMs = [50, 200, 1000, 5000, 20_000];

export class ProxyContent implements FarContent {
  readonly #peer: GrpcPeer;
  readonly #title: string;

  constructor({ name, address }: ProxyPlugin) {
    this.#title = `content store ${name} at ${address}`;
    this.#peer = new GrpcPeer({ address, title: this.#title, timeoutMs });
  }

  async sizeOf(namespace: string, digest: Digest): Promise<bigint | undefined> {
    try {
      return (await this.#peer.call(namespace, service, info, { digest })).info?.size;
    } catch (err) {
      if (isCode(err, 'not found')) return undefined;
      throw err;
    }
  }

  async *read(namespace: string, digest: Digest, offset: bigint, size: bigint): AsyncGenerator<Uint8Array> {
    const limits = { timeoutMs: Infinity, idleMs: timeoutMs };
    for await (const { data } of this.#peer.stream(namespace, service, read, { digest, offset, size }, limits))
      yield data;
  }

  async write(
    namespace: string,
    blob: { readonly digest: Digest; readonly size: bigint },
    source: (offset: bigint) => AsyncIterable<Uint8Array>,
  ): Promise<void> {
    for (const pauseMs of [...lockedPausesMs, undefined]) {
      try {
        await this.#send(namespace, blob, source);
        return;
      } catch (err) {
        if (isCode(err, 'already exists')) return;
        const locked = isCode(err, 'unavailable') && /locked/.test(String(err));
        if (!locked || pauseMs === undefined) throw err;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  async remove(namespace: string, digest: Digest): Promise<void> {
    try {
      await this.#peer.call(namespace, service, remove, { digest });
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  }

  close(): void {
    this.#peer.close();
  }

  async #send(
    namespace: string,
    { digest, size }: { readonly digest: Digest; readonly size: bigint },
    source: (offset: bigint) => AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const ref = `gantry-${digest}`;
    using stream = this.#peer.duplex(namespace, service, write);
    const begun = await stream.exchange({ action: WriteAction.STAT, ref, expected: digest, total: size });
    let { offset } = begun;
    // What another attempt has left there is of the same blob.
    if (offset > size) throw dataLoss(`${this.#title}: ${offset} bytes of ${digest}, which has ${size}`);
    for await (const data of source(offset)) {
      const answer = await stream.exchange({ action: WriteAction.WRITE, ref, offset, data });
      offset += BigInt(data.length);
      if (answer.offset !== offset) throw internal(`${this.#title}: is at ${answer.offset}, not at ${offset}`);
    }
    try {
      const labels = { [rootLabel]: new Date().toISOString() };
      await stream.exchange({ action: WriteAction.COMMIT, ref, offset, total: size, expected: digest, labels });
    } catch (err) {
      // The bytes there are others: the next attempt begins anew.
      if (isCode(err, 'failed precondition') || isCode(err, 'invalid argument')) {
        await this.#peer.call(namespace, service, abort, { ref }).catch(() => undefined);
      }
      throw err;
    }
  }
}
