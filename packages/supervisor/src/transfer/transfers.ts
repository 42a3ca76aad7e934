/**
 * Transfers: images between registries, archives and the image store. The types of source and destination say what is
 * done. This folder, the registry client below it and HTTP are loaded when the first transfer is asked for.
 */
import { anyTypeName, transferTypes } from '@gantry/api';
import type { transfer, wellKnown } from '@gantry/api';
import type { ContentStore } from '@gantry/content';
import { invalidArgument, notImplemented } from '@gantry/errors';
import { KeyedTurns, Transport } from '@gantry/images';
import type { LayerApplier } from '@gantry/images';
import type { SnapshotStore } from '@gantry/snapshots';
import type { Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import type { ImageRecords } from '../images/image-records.ts';
import type { Call } from '../rpc/call.ts';
import type { Streams } from '../streams/streams.ts';
import { version } from '../version.ts';
import { TransferLeases } from './leases.ts';
import { exportArchive } from './export.ts';
import { importArchive } from './import.ts';
import type { ImageVerifiersOptions } from './image-verifiers.ts';
import { progressTo } from './progress.ts';
import type { Tell } from './progress.ts';
import { pull } from './pull.ts';
import { push } from './push.ts';
import { tag } from './tag.ts';

export interface TransferComponents {
  readonly store: Store;
  readonly content: ContentStore;
  readonly snapshots: SnapshotStore;
  readonly differ: LayerApplier;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule'>;
  readonly images: ImageRecords;
  readonly streams: Streams;
  /** Where `hosts.toml` files are looked for when the request does not say. */
  readonly hostDirectories: readonly string[];
  /** Layers that no registry holds may be fetched from the addresses that the image names. */
  readonly allowForeignLayers: boolean;
  /** Layers of one pull, and blobs of one push, that are under way at the same time. */
  readonly concurrentDownloads: number;
  readonly concurrentUploads: number;
  /** Who is asked before a pull. */
  readonly verifiers: ImageVerifiersOptions;
  /** For unpacking when the request does not say. */
  readonly defaultSnapshotter: string;
}

/** What the operations share. */
export interface TransferTools extends TransferComponents {
  readonly transport: Transport;
  readonly leases: TransferLeases;
  /** Those who fetch the same blob at the same time, and those who unpack the same layer, do it once. */
  readonly turns: KeyedTurns;
}

/** One transfer under way. */
export interface TransferCall {
  readonly namespace: string;
  /** The caller's; operations take one of their own when there is none. */
  readonly lease: string | undefined;
  readonly signal: AbortSignal;
  readonly tell: Tell;
}

export class Transfers {
  readonly #tools: TransferTools;

  constructor(components: TransferComponents) {
    this.#tools = {
      ...components,
      transport: new Transport({ userAgent: `gantry/${version}` }),
      leases: new TransferLeases(components),
      turns: new KeyedTurns(),
    };
  }

  /** Resolves when it is done. Throws not implemented for a pair of ends that nobody can join. */
  async run({ source, destination, options }: transfer.TransferRequest, call: Call): Promise<void> {
    const { namespace, lease, signal } = call;
    const from = endOf(source, 'source');
    const to = endOf(destination, 'destination');
    const progress = progressTo(this.#tools.streams, namespace, options?.progressStream ?? '');
    try {
      const under: TransferCall = { namespace, lease, signal, tell: progress.tell };
      await join(this.#tools, under, from, to);
    } finally {
      progress.close();
    }
  }

  /** Ends all connections to registries. */
  async close(): Promise<void> {
    await this.#tools.transport.close();
  }
}

type Ends =
  | { readonly kind: 'registry'; readonly value: transferTypes.OCIRegistry }
  | { readonly kind: 'image store'; readonly value: transferTypes.ImageStore }
  | { readonly kind: 'archive to import'; readonly value: transferTypes.ImageImportStream }
  | { readonly kind: 'archive to export'; readonly value: transferTypes.ImageExportStream };

async function join(tools: TransferTools, call: TransferCall, from: Ends, to: Ends): Promise<void> {
  if (from.kind === 'registry' && to.kind === 'image store') return pull(tools, call, from.value, to.value);
  if (from.kind === 'image store' && to.kind === 'registry') return push(tools, call, from.value, to.value);
  if (from.kind === 'archive to import' && to.kind === 'image store')
    return importArchive(tools, call, from.value, to.value);
  if (from.kind === 'image store' && to.kind === 'archive to export')
    return exportArchive(tools, call, from.value, to.value);
  if (from.kind === 'image store' && to.kind === 'image store') return tag(tools, call, from.value, to.value);
  throw notImplemented(`transfer from ${from.kind} to ${to.kind}`);
}

function endOf(any: wellKnown.Any | undefined, what: 'source' | 'destination'): Ends {
  if (any === undefined) throw invalidArgument(`transfer without a ${what}`);
  switch (anyTypeName(any)) {
    case transferTypes.OCIRegistry.typeName:
      return { kind: 'registry', value: transferTypes.OCIRegistry.decode(any.value) };
    case transferTypes.ImageStore.typeName:
      return { kind: 'image store', value: transferTypes.ImageStore.decode(any.value) };
    case transferTypes.ImageImportStream.typeName:
      return { kind: 'archive to import', value: transferTypes.ImageImportStream.decode(any.value) };
    case transferTypes.ImageExportStream.typeName:
      return { kind: 'archive to export', value: transferTypes.ImageExportStream.decode(any.value) };
    default:
      throw notImplemented(`${what} of a transfer of type ${JSON.stringify(any.typeUrl)}`);
  }
}
