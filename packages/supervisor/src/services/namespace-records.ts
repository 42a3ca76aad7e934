/** Which namespaces there are: those that have a record, and those something was made in without asking first. */
import { namespaces } from '@gantry/api';
import { keys } from '@gantry/store';
import type { Key, Reader, Transaction } from '@gantry/store';

/** What makes a namespace exist. Ingests do not: they go by themselves. */
const branches: readonly ((namespace?: string) => Key)[] = [
  keys.namespaces,
  keys.images,
  keys.content,
  keys.containers,
  keys.sandboxes,
  keys.snapshots,
  keys.leases,
];

/** The labels of a namespace, none when it has no record. */
export function namespaceLabels(reader: Reader, name: string): Readonly<Record<string, string>> {
  const bytes = reader.get(keys.namespaces(name));
  return bytes === undefined ? {} : namespaces.Namespace.decode(bytes).labels;
}

/** Whether the others may have this namespace's blobs where namespaces are otherwise isolated. */
export function isShareable(reader: Reader, name: string): boolean {
  return namespaceLabels(reader, name)['containerd.io/namespace.shareable'] === 'true';
}

export function putNamespace(tx: Transaction, name: string, labels: Readonly<Record<string, string>>): void {
  tx.put(keys.namespaces(name), namespaces.Namespace.encode(namespaces.Namespace.create({ name, labels })));
}

/** Makes the namespace of something that is being created; it stays when that is deleted. */
export function ensureNamespace(tx: Transaction, name: string): void {
  if (tx.get(keys.namespaces(name)) === undefined) putNamespace(tx, name, {});
}

export function namespaceExists(reader: Reader, name: string): boolean {
  return reader.get(keys.namespaces(name)) !== undefined || branches.some((branch) => hasAny(reader, branch(name)));
}

/** The names in order. */
export function namespaceNames(reader: Reader): string[] {
  const names = new Set<string>();
  for (const branch of branches) {
    for (const name of childrenOf(reader, branch())) names.add(name);
  }
  return [...names].sort();
}

/** What a namespace still holds, in the words of the error that refuses to delete it. */
export function namespaceContents(reader: Reader, name: string): string[] {
  const contents: string[] = [];
  if (hasAny(reader, keys.images(name))) contents.push('images');
  if (hasAny(reader, keys.content(name))) contents.push('blobs');
  if (hasAny(reader, keys.containers(name))) contents.push('containers');
  for (const snapshotter of childrenOf(reader, keys.snapshots(name))) {
    contents.push(`snapshots on ${JSON.stringify(snapshotter)} snapshotter`);
  }
  return contents;
}

/** The components right below a prefix, skipping from one to the next without reading what is below them. */
export function* childrenOf(reader: Reader, prefix: Key): Generator<string> {
  let after: string | undefined;
  for (;;) {
    const [entry] = reader.scan(prefix, after === undefined ? { limit: 1 } : { limit: 1, after });
    const child = entry?.key[prefix.length];
    if (child === undefined) return;
    yield child;
    after = child;
  }
}

function hasAny(reader: Reader, prefix: Key): boolean {
  const [entry] = reader.scan(prefix, { limit: 1 });
  return entry !== undefined;
}
