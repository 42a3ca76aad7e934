/**
 * The labels that speak to garbage collection.
 *
 *     containerd.io/gc.root                                      content, snapshots: kept
 *     containerd.io/gc.expire=<RFC 3339>                         leases, images: kept until then
 *     containerd.io/gc.flat                                      leases: what it holds does not hold anything further
 *     containerd.io/gc.ref.content[.…|/…]=<digest>               holds a blob
 *     containerd.io/gc.ref.image[.…|/…]=<name>                   holds an image
 *     containerd.io/gc.ref.snapshot.<snapshotter>[/…]=<key>      holds a snapshot
 *     containerd.io/gc.bref.{content,image,container}[.…|/…]=…   is held by
 *     containerd.io/gc.bref.snapshot.<snapshotter>[/…]=<key>     is held by a snapshot
 *     containerd.io/gc.cond.snapshot.<snapshotter>[/…]=usedat<24h|<key>
 *                                                                content, images: holds a snapshot as long as its last use …
 *     containerd.io/gc.cond.value-usedat=<RFC 3339>              snapshots: … which was then, is no longer ago (or, with >, longer)
 */
import { timestampFromRfc3339, timestampToNs } from '@gantry/api';
import type { Labels } from '@gantry/store';
import { parseDurationMs } from '../duration.ts';
import { node } from './graph.ts';
import type { NodeId } from './graph.ts';

export const rootLabel = 'containerd.io/gc.root';
export const expireLabel = 'containerd.io/gc.expire';
export const flatLabel = 'containerd.io/gc.flat';
const usedAtLabel = 'containerd.io/gc.cond.value-usedat';

const prefix = 'containerd.io/gc.';

/** What the labels of an object of this namespace refer to. */
export function references(namespace: string, labels: Labels): { holds: NodeId[]; heldBy: NodeId[] } {
  const holds: NodeId[] = [];
  const heldBy: NodeId[] = [];
  for (const [label, value] of Object.entries(labels)) {
    if (!label.startsWith(prefix) || value === '') continue;
    const [, direction = '', what = ''] = /^(ref|bref)\.(.*)$/s.exec(label.slice(prefix.length)) ?? [];
    if (direction === '') continue;
    const target = targetOf(namespace, what, value);
    if (target === undefined) continue;
    if (direction === 'bref') heldBy.push(target);
    else if (!what.startsWith('container')) holds.push(target);
  }
  return { holds, heldBy };
}

/** A hold on a snapshot that depends on when it was last used. */
export interface Condition {
  readonly snapshot: NodeId;
  readonly is: 'younger' | 'older';
  readonly ageMs: number;
}

/**
 * The conditions among the labels of an object. `usedat<1h,usedat>9h|key`: any of them is enough; what nobody understands is
 * passed over.
 */
export function conditions(namespace: string, labels: Labels): Condition[] {
  return Object.entries(labels).flatMap(([label, value]) => {
    const snapshotter = /^containerd\.io\/gc\.cond\.snapshot[./]+([^/]+)(?:\/|$)/.exec(label)?.[1];
    const [, words, key = ''] = /^([^|]*)\|(.*)$/s.exec(value) ?? [];
    if (snapshotter === undefined || words === undefined) return [];
    const snapshot = node.snapshot(namespace, snapshotter, key);
    return words.split(',').flatMap((word): Condition[] => {
      const [, operator, duration = ''] = /^usedat([<>])(?!=)(.*)$/s.exec(word) ?? [];
      const ageMs = parseDurationMs(duration);
      if (operator === undefined || ageMs === undefined) return [];
      return [{ snapshot, is: operator === '<' ? 'younger' : 'older', ageMs }];
    });
  });
}

/** When an object expires, in milliseconds since 1970; undefined when it does not, or says so in a way nobody can read. */
export function expiryMs(labels: Labels): number | undefined {
  return timeOf(labels, expireLabel);
}

/** When a snapshot was last used, as far as anybody says so. */
export function usedAtMs(labels: Labels): number | undefined {
  return timeOf(labels, usedAtLabel);
}

function timeOf(labels: Labels, label: string): number | undefined {
  const text = Object.hasOwn(labels, label) ? labels[label] : undefined;
  if (text === undefined) return undefined;
  try {
    return Number(timestampToNs(timestampFromRfc3339(text)) / 1_000_000n);
  } catch {
    return undefined;
  }
}

function targetOf(namespace: string, what: string, value: string): NodeId | undefined {
  const snapshotter = /^snapshot\.([^/]+)(?:\/|$)/.exec(what)?.[1];
  if (snapshotter !== undefined) return node.snapshot(namespace, snapshotter, value);
  switch (/^(content|image|container)(?:[./]|$)/.exec(what)?.[1]) {
    case 'content':
      return node.content(namespace, value);
    case 'image':
      return node.image(namespace, value);
    case 'container':
      return node.container(namespace, value);
    default:
      return undefined;
  }
}
