/**
 * A differ in another process, behind containerd's own Diff service. It has the blob from a content store of its own, or from ours by
 * our API, and works on the mounts as it gets them, on this host.
 */
import { diff } from '@gantry/api';
import type { DiffResult } from '@gantry/diff';
import { internal } from '@gantry/errors';
import type { ProxyPlugin } from '../config/proxy-plugins.ts';
import type { ApplyLayer, CompareLayers, LayerBlob, LayerDiffer, Origin } from '../differs/layer-differ.ts';
import { GrpcPeer } from './grpc-peer.ts';

const service = diff.DiffService;

/** A layer may be large and the disk slow; whoever waits can give up before. */
const timeoutMs = 3_600_000;

export class ProxyDiffer implements LayerDiffer {
  readonly name: string;
  /** It knows nothing of layers whose lower ones come later. */
  readonly detached = false;
  readonly #peer: GrpcPeer;

  constructor({ name, address }: ProxyPlugin) {
    this.name = name;
    this.#peer = new GrpcPeer({ address, title: `differ ${name} at ${address}`, timeoutMs });
  }

  /** That is its own business. */
  warm(): void {
    return undefined;
  }

  async apply(origin: Origin, { layer, mounts, syncFs, payloads }: ApplyLayer): Promise<DiffResult> {
    const request = { diff: { ...layer }, mounts: mounts.map(wire), syncFs, payloads: { ...payloads } };
    const { applied } = await this.#peer.call(origin.namespace, service, service.methods.apply, request, origin);
    return this.#checked(applied);
  }

  async compare(origin: Origin, request: CompareLayers): Promise<LayerBlob> {
    const { left, right, labels, ...rest } = request;
    const wanted = { ...rest, left: left.map(wire), right: right.map(wire), labels: { ...labels } };
    const { diff: made } = await this.#peer.call(origin.namespace, service, service.methods.diff, wanted, origin);
    return this.#checked(made);
  }

  close(): void {
    this.#peer.close();
  }

  #checked<T extends { readonly digest: string }>(found: T | undefined): T {
    if (found !== undefined && found.digest !== '') return found;
    throw internal(`differ ${this.name}: an answer without a digest`);
  }
}

function wire({ type, source, target = '', options }: ApplyLayer['mounts'][number]): {
  type: string;
  source: string;
  target: string;
  options: string[];
} {
  return { type, source, target, options: [...options] };
}
