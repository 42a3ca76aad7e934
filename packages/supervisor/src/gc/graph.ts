/** Who holds whom: the objects of the store as a graph, and what can be reached in it. */
import { keys } from '@gantry/store';
import type { Key } from '@gantry/store';

/** An object's key in the store as one string; nobody's name holds NUL. */
export type NodeId = string;

const separator = '\0';

/** The objects of the graph. They need not exist: an edge to nothing leads nowhere. */
export const node = {
  content: (namespace: string, digest: string): NodeId => nodeOf(keys.content(namespace, digest)),
  image: (namespace: string, name: string): NodeId => nodeOf(keys.images(namespace, name)),
  container: (namespace: string, id: string): NodeId => nodeOf(keys.containers(namespace, id)),
  ingest: (namespace: string, ref: string): NodeId => nodeOf(keys.ingests(namespace, ref)),
  lease: (namespace: string, id: string): NodeId => nodeOf(keys.leases(namespace, id)),
  snapshot: (namespace: string, snapshotter: string, key: string): NodeId =>
    nodeOf(keys.snapshots(namespace, snapshotter, key)),
} as const;

export function nodeOf(key: Key): NodeId {
  return key.join(separator);
}

export function keyOf(id: NodeId): Key {
  return id.split(separator);
}

export function namespaceOf(id: NodeId): string {
  return keyOf(id)[1] ?? '';
}

/**
 * Nodes and edges. An edge is **firm** when it also counts for what is held flat: a snapshot's parent, an image's
 * target. The others are followed from nodes that are held fully only.
 */
export class ReferenceGraph {
  /** What goes when it cannot be reached. */
  readonly #collectable: NodeId[] = [];
  readonly #edges = new Map<NodeId, NodeId[]>();
  readonly #firmEdges = new Map<NodeId, NodeId[]>();
  readonly #roots: { readonly id: NodeId; readonly flat: boolean }[] = [];

  /** How many objects may be collected. */
  get size(): number {
    return this.#collectable.length;
  }

  collectable(id: NodeId): void {
    this.#collectable.push(id);
  }

  /** Held, and with `flat` only firm edges lead on from there. */
  root(id: NodeId, flat = false): void {
    this.#roots.push({ id, flat });
  }

  edge(from: NodeId, to: NodeId): void {
    append(this.#edges, from, to);
  }

  firmEdge(from: NodeId, to: NodeId): void {
    append(this.#firmEdges, from, to);
  }

  /** What no root leads to, in the order it was added. Pauses at every yield, so that the caller can let others run. */
  *unreachable(pauseEvery: number): Generator<undefined, NodeId[]> {
    const full = new Set<NodeId>();
    const flat = new Set<NodeId>();
    const waiting = [...this.#roots];
    for (let step = 1, next = waiting.pop(); next !== undefined; next = waiting.pop(), step++) {
      if (step % pauseEvery === 0) yield;
      const seen = next.flat ? flat : full;
      if (full.has(next.id) || seen.has(next.id)) continue;
      seen.add(next.id);
      for (const id of this.#firmEdges.get(next.id) ?? []) waiting.push({ id, flat: next.flat });
      if (next.flat) continue;
      for (const id of this.#edges.get(next.id) ?? []) waiting.push({ id, flat: false });
    }
    return this.#collectable.filter((id) => !full.has(id) && !flat.has(id));
  }
}

function append(edges: Map<NodeId, NodeId[]>, from: NodeId, to: NodeId): void {
  const known = edges.get(from);
  if (known === undefined) edges.set(from, [to]);
  else known.push(to);
}
