/** The news of a transfer, as messages on the stream that the client named. */
import { packAny, transferTypes } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { annotations, isIndexType } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import type { TransferProgress } from '@gantry/images';
import type { Streams } from '../streams/streams.ts';

export type Progress = PartialMessage<transferTypes.Progress>;

/** Never throws and never waits. */
export type Tell = (progress: Progress) => void;

/** Counts that are out of date by the time there is room again. */
const passing: ReadonlySet<string> = new Set(['downloading', 'uploading']);

/** `id` '' tells nobody. Throws not found when there is no such stream. `close` ends the stream. */
export function progressTo(
  streams: Streams,
  namespace: string,
  id: string,
): { readonly tell: Tell; readonly close: () => void } {
  if (id === '') return { tell: () => undefined, close: () => undefined };
  const stream = streams.take(namespace, id);
  return {
    tell(progress) {
      const message = packAny(transferTypes.Progress, progress);
      if (stream.offer(message) || passing.has(progress.event ?? '')) return;
      // A change of state is told however late; a client that is gone misses it.
      stream.send(message).catch(() => undefined);
    },
    close: () => stream.close(),
  };
}

/** The words for a blob's states, by direction. */
const words = {
  pull: {
    waiting: 'waiting',
    transferring: 'downloading',
    done: 'complete',
    exists: 'already exists',
    mounted: 'complete',
    skipped: 'skipped',
  },
  push: {
    waiting: 'waiting',
    transferring: 'uploading',
    done: 'complete',
    exists: 'already exists',
    mounted: 'complete',
    skipped: 'skipped',
  },
} as const;

/** What happens to one blob of the image `name`. */
export function blobProgress(
  direction: keyof typeof words,
  name: string,
  { kind, descriptor, parents, state, offset, total }: TransferProgress,
): Progress {
  return {
    event: words[direction][state],
    name: refOf(kind, descriptor),
    parents: [aboveOf(parents, name)],
    progress: BigInt(offset),
    total: BigInt(total),
    desc: wireDescriptor(descriptor),
  };
}

/** A layer that is unpacked or was. */
export function unpackProgress(
  name: string,
  parents: readonly Descriptor[],
  layer: Descriptor,
  event: 'extracting' | 'extracted',
): Progress {
  return {
    event,
    name: refOf('layer', layer),
    parents: [aboveOf(parents, name)],
    progress: event === 'extracted' ? BigInt(layer.size) : 0n,
    total: BigInt(layer.size),
    desc: wireDescriptor(layer),
  };
}

/** What refers to it directly; the image itself above its target. */
function aboveOf([parent]: readonly Descriptor[], name: string): string {
  return parent === undefined ? name : refOf(kindOf(parent), parent);
}

/** Whether a node above a blob is an index or a manifest. */
function kindOf({ mediaType }: Descriptor): 'index' | 'manifest' {
  return isIndexType(mediaType) ? 'index' : 'manifest';
}

/** The name under which the object is fetched and shown: `layer-sha256:…`. */
function refOf(kind: TransferProgress['kind'], descriptor: Descriptor): string {
  const name = descriptor.annotations?.[annotations.refName];
  const key = name === undefined ? descriptor.digest : `${name}@${descriptor.digest}`;
  return `${kind === 'blob' ? 'unknown' : kind}-${key}`;
}

export function wireDescriptor({ mediaType, digest, size, annotations: given = {} }: Descriptor): {
  mediaType: string;
  digest: string;
  size: bigint;
  annotations: Record<string, string>;
} {
  return { mediaType, digest, size: BigInt(size), annotations: { ...given } };
}
