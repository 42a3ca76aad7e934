/** containerd.services.content.v1.Content: blobs and ingests over gRPC; packages/content decides. */
import { content, events, timestampFromNs } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import type { ContentInfo, ContentStore, IngestStatus, Writer } from '@gantry/content';
import { alreadyExists, invalidArgument } from '@gantry/errors';
import { contentAdaptor, ingestAdaptor } from '../filters/adaptors.ts';
import { compileFilters } from '../filters/index.ts';
import type { Publisher } from '../events/exchange.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { bind } from '../rpc/handlers.ts';
import { LentMessage } from '../rpc/lent-message.ts';
import { partsOf } from '../rpc/parted-message.ts';
import type { Binding } from '../rpc/handlers.ts';
import type { Call } from '../rpc/call.ts';

/** How many infos go into one message of List. */
const listBatch = 100;

/** Documents are smaller; a layer that is as small may wait. */
const smallestLayerBytes = 64n * 1024n;

/** How containerd's clients call the ingests of what they pull (`layer-…`) and import (`blob-…`, `tar-…`). */
function isLayerRef(ref: string): boolean {
  return /^(?:layer|blob|tar)-/.test(ref);
}

export interface ContentServiceComponents {
  readonly content: ContentStore;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule'>;
  /** Called when what looks like a layer is written: its client will want it unpacked. */
  readonly onLayer: () => void;
}

export function contentService(components: ContentServiceComponents): Binding {
  const { content: store, events: publisher, gc } = components;
  return bind(content.ContentService, {
    info: ({ digest }, call) => ({ info: toWire(store.info(call.namespace, digest)) }),

    async update({ info, updateMask }, call) {
      if (info === undefined) throw invalidArgument('content update without info');
      const change = { digest: info.digest, labels: info.labels };
      return { info: toWire(await store.update(call.namespace, change, updateMask?.paths ?? [])) };
    },

    async *list({ filters }, call) {
      const matches = compileFilters(filters);
      let batch: PartialMessage<content.Info>[] = [];
      for (const info of store.list(call.namespace)) {
        if (!matches(contentAdaptor(info))) continue;
        batch.push(toWire(info));
        if (batch.length < listBatch) continue;
        yield { info: batch };
        batch = [];
      }
      if (batch.length > 0) yield { info: batch };
    },

    async delete({ digest }, call) {
      const { namespace } = call;
      await store.delete(namespace, digest, call.lease);
      publisher.publish(namespace, '/content/delete', events.ContentDelete, { digest });
      gc.schedule();
      return {};
    },

    async *read({ digest, offset, size }, call) {
      let sent = 0n;
      for await (const { bytes, release } of store.readLent(call.namespace, digest, { offset, size })) {
        const length = bytes.length;
        yield new LentMessage(readHead(sent, length), bytes, release) as PartialMessage<content.ReadContentResponse>;
        sent += BigInt(length);
      }
    },

    status: async ({ ref }, call) => ({ status: statusToWire(await store.status(call.namespace, ref)) }),

    async listStatuses({ filters }, call) {
      const matches = compileFilters(filters);
      const statuses: PartialMessage<content.Status>[] = [];
      for await (const status of store.statuses(call.namespace)) {
        if (matches(ingestAdaptor(status))) statuses.push(statusToWire(status));
      }
      return { statuses };
    },

    write: (requests, call) => write(components, requests, call),

    async abort({ ref }, call) {
      await store.abort(call.namespace, ref, call.lease);
      return {};
    },
  });
}

/** The beginning of an encoded ReadContentResponse, up to the bytes of its last field. */
function readHead(offset: bigint, length: number): Buffer {
  const encoded = content.ReadContentResponse.encode({ offset, data: new Uint8Array(0) });
  // Field 2, bytes: the key, then the length as a varint.
  const head = [...encoded, (2 << 3) | 2];
  for (let left = length; ; left >>>= 7) {
    head.push(left > 0x7f ? (left & 0x7f) | 0x80 : left);
    if (left <= 0x7f) return Buffer.from(head);
  }
}

/** The Write stream: the first message opens the ingest, every message is answered, a commit ends the stream. */
async function* write(
  { content: store, events: publisher, onLayer }: ContentServiceComponents,
  requests: AsyncIterable<content.WriteContentRequest>,
  call: Call,
): AsyncGenerator<PartialMessage<content.WriteContentResponse>> {
  const { namespace } = call;
  let writer: Writer | undefined;
  try {
    for await (const message of requests) {
      const { ref, expected, total } = message;
      if (writer === undefined) {
        writer = await store.openWriter(namespace, { ref, total, expected, lease: call.lease });
        if (isLayerRef(ref) && total >= smallestLayerBytes) onLayer();
      } else {
        if (expected !== '' && store.has(namespace, expected)) {
          await writer.close();
          await store.abort(namespace, writer.ref, call.lease);
          throw alreadyExists(`blob with expected digest ${expected} exists`);
        }
        if (total > 0n) await writer.setTotal(total);
      }
      if (message.action !== content.WriteAction.STAT) await append(writer, message);
      const request = partsOf(message)?.whole() ?? message;
      if (request.action === content.WriteAction.COMMIT) {
        const { total: announced } = writer.status();
        if (isLayerRef(writer.ref) && announced >= smallestLayerBytes) onLayer();
        const info = await commit(writer, request);
        publisher.publish(namespace, '/content/create', events.ContentCreate, { digest: info.digest, size: info.size });
        yield { ...committed(request.action, info), total: announced };
        return;
      }
      yield progress(request.action, writer);
    }
  } finally {
    await writer?.close();
  }
}

/** Writes the bytes of one message, as they arrive where they do. */
async function append(writer: Writer, message: content.WriteContentRequest): Promise<void> {
  // Without data too: an offset of 0 begins anew, any other must be where the ingest is.
  await writer.write(message.data, message.offset);
  for await (const pieces of partsOf(message)?.pieces ?? []) await writer.write(pieces);
}

/** Commits what is written; the total and digest that were announced must hold. */
async function commit(writer: Writer, request: content.WriteContentRequest): Promise<ContentInfo> {
  const { total, expected } = writer.status();
  return writer.commit({
    size: request.total > 0n ? request.total : total,
    expected: request.expected === '' ? expected : request.expected,
    labels: request.labels,
  });
}

function progress(action: number, writer: Writer): PartialMessage<content.WriteContentResponse> {
  const { offset, total, startedAtNs, updatedAtNs } = writer.status();
  return {
    action,
    startedAt: timestampFromNs(startedAtNs),
    updatedAt: timestampFromNs(updatedAtNs),
    offset,
    total,
    digest: writer.digest(),
  };
}

function committed(action: number, info: ContentInfo): PartialMessage<content.WriteContentResponse> {
  return {
    action,
    startedAt: timestampFromNs(info.createdAtNs),
    updatedAt: timestampFromNs(info.updatedAtNs),
    offset: info.size,
    digest: info.digest,
  };
}

function toWire(info: ContentInfo): PartialMessage<content.Info> {
  return {
    digest: info.digest,
    size: info.size,
    createdAt: timestampFromNs(info.createdAtNs),
    updatedAt: timestampFromNs(info.updatedAtNs),
    labels: info.labels,
  };
}

function statusToWire(status: IngestStatus): PartialMessage<content.Status> {
  return {
    startedAt: timestampFromNs(status.startedAtNs),
    updatedAt: timestampFromNs(status.updatedAtNs),
    ref: status.ref,
    offset: status.offset,
    total: status.total,
    expected: status.expected,
  };
}
