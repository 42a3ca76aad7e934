/** The content store as pulling and pushing see it: one namespace, one lease. */
import { isCode } from '@gantry/errors';
import type { ContentInfo, ContentStore, Writer } from '@gantry/content';
import type { Labels } from '@gantry/store';

export interface ImageContent {
  readonly namespace: string;
  /** Undefined when it is not there. */
  info(digest: string): ContentInfo | undefined;
  /** Not found, out of range. */
  read(digest: string, offset?: bigint): AsyncIterable<Uint8Array>;
  /**
   * The writer of an ingest, which goes on where the ingest ended. Already exists when the content is there (the lease
   * then holds it); unavailable while somebody else writes to the ref. Close it in `finally`. `expected` may be ''.
   */
  openWriter(options: { readonly ref: string; readonly total: bigint; readonly expected: string }): Promise<Writer>;
  /** How many bytes an ingest has; undefined when there is none. */
  ingestOffset(ref: string): Promise<bigint | undefined>;
  /** Throws away what an ingest has so far. Nothing happens when there is none. */
  abort(ref: string): Promise<void>;
  /** Adds to and replaces labels; the others stay. Not found. */
  addLabels(digest: string, labels: Labels): Promise<void>;
}

export interface ImageContentOptions {
  readonly store: ContentStore;
  readonly namespace: string;
  /** Holds all that is written and found until the image's record exists; the caller's own. */
  readonly lease: string;
  /** What was written of a blob stays a day when it fails, so that the next one goes on from there. */
  readonly resumable?: boolean;
  /** Told of every blob that becomes the namespace's. */
  readonly onBlob?: (info: ContentInfo) => void;
}

export function imageContent({
  store,
  namespace,
  lease,
  resumable = false,
  onBlob,
}: ImageContentOptions): ImageContent {
  return {
    namespace,
    info: (digest) => (store.has(namespace, digest) ? store.info(namespace, digest) : undefined),
    read: (digest, offset = 0n) => store.read(namespace, digest, { offset }),
    openWriter: async (options) =>
      announced(await store.openWriter(namespace, { ...options, lease, resumable }), onBlob),
    async ingestOffset(ref) {
      try {
        return (await store.status(namespace, ref)).offset;
      } catch (err) {
        if (isCode(err, 'not found')) return undefined;
        throw err;
      }
    },
    async abort(ref) {
      try {
        await store.abort(namespace, ref, lease);
      } catch (err) {
        if (!isCode(err, 'not found')) throw err;
      }
    },
    async addLabels(digest, labels) {
      const paths = Object.keys(labels).map((name) => `labels.${name}`);
      if (paths.length > 0) await store.update(namespace, { digest, labels }, paths);
    },
  };
}

function announced(writer: Writer, tell: ((info: ContentInfo) => void) | undefined): Writer {
  if (tell === undefined) return writer;
  return {
    ref: writer.ref,
    status: () => writer.status(),
    digest: () => writer.digest(),
    setTotal: async (total) => writer.setTotal(total),
    write: async (bytes, offset) => writer.write(bytes, offset),
    truncate: async (size) => writer.truncate(size),
    async commit(options) {
      const info = await writer.commit(options);
      tell(info);
      return info;
    },
    close: async () => writer.close(),
  };
}
