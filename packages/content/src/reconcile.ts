/** Comparing what the disk holds with what the records say: at start, and before blobs are removed. */
import { keys } from '@gantry/store';
import type { Reader, Store } from '@gantry/store';
import type { Digest } from '@gantry/oci';
import type { BlobFiles } from './blob-files.ts';
import type { ContentReport } from './content.ts';
import { directoryName } from './ingest-files.ts';
import type { IngestFiles } from './ingest-files.ts';
import { decodeInfo, decodeIngest } from './records.ts';

/** See `ContentReport`. Removes what nobody can ever use; a broken blob's record stays, so that the loss is visible. */
export async function reconcileContent(store: Store, blobs: BlobFiles, ingests: IngestFiles): Promise<ContentReport> {
  const kept = new Set<string>();
  const ingestsKept: string[] = [];
  const ingestsRemoved: string[] = [];
  const directories = new Set(await ingests.names());
  for (const { key } of store.scan(keys.ingests())) {
    const [, namespace = '', ref = ''] = key;
    const directory = directoryName(namespace, ref);
    if (directories.has(directory)) {
      kept.add(directory);
      ingestsKept.push(`${namespace}/${ref}`);
    } else {
      await store.transact((tx) => tx.delete(key));
      ingestsRemoved.push(`${namespace}/${ref}: no directory`);
    }
  }
  for (const directory of directories) {
    if (kept.has(directory)) continue;
    await ingests.removeByName(directory);
    ingestsRemoved.push(`${directory}: no record`);
  }
  const unreferenced: string[] = [];
  for await (const digest of unreferencedBlobs(store, blobs)) unreferenced.push(digest);
  return { broken: await brokenBlobs(store, blobs), ingestsKept, ingestsRemoved, unreferencedBlobs: unreferenced };
}

/** Blob files that neither a namespace nor an ingest speaks of, as of the start of the iteration. */
export async function* unreferencedBlobs(store: Store, blobs: BlobFiles): AsyncGenerator<Digest> {
  const referenced = new Set<string>();
  using snapshot = store.snapshot();
  for (const { key } of snapshot.scan(keys.content())) referenced.add(key.at(-1) ?? '');
  for (const expected of expectedDigests(snapshot)) referenced.add(expected);
  snapshot.close();
  for await (const digest of blobs.list()) if (!referenced.has(digest)) yield digest;
}

/** True when a namespace has the blob or an ingest expects it, right now. */
export function isReferenced(store: Store, digest: Digest): boolean {
  if (namespacesWith(store, digest).length > 0) return true;
  for (const expected of expectedDigests(store)) if (expected === digest) return true;
  return false;
}

/** The namespaces that have the blob. */
export function namespacesWith(store: Store, digest: Digest): string[] {
  return [...namespacesWithContent(store)].filter(
    (namespace) => store.get(keys.content(namespace, digest)) !== undefined,
  );
}

function* expectedDigests(reader: Reader): Generator<string> {
  for (const { key, value } of reader.scan(keys.ingests())) {
    const { expected } = decodeIngest(key.at(-1) ?? '', value);
    if (expected !== '') yield expected;
  }
}

/** Skips from namespace to namespace without reading what they hold. */
function* namespacesWithContent(reader: Reader): Generator<string> {
  let after: string | undefined;
  for (;;) {
    const [entry] = reader.scan(keys.content(), after === undefined ? { limit: 1 } : { limit: 1, after });
    const namespace = entry?.key[1];
    if (namespace === undefined) return;
    yield namespace;
    after = namespace;
  }
}

async function brokenBlobs(store: Store, blobs: BlobFiles): Promise<string[]> {
  // What is in another process may be away, and is looked at when it is needed.
  if (!blobs.isHere) return [];
  const broken: string[] = [];
  for (const { key, value } of store.scan(keys.content())) {
    const [, namespace = '', digest = ''] = key;
    const info = decodeInfo(digest, value);
    const size = await blobs.sizeOf(info.digest, namespace);
    if (size === undefined) broken.push(`${namespace}/${digest}: no file`);
    else if (size !== info.size) broken.push(`${namespace}/${digest}: ${size} bytes on disk, ${info.size} recorded`);
  }
  return broken;
}
