/**
 * What a snapshot is built on: the ids of its parents' trees. A committed snapshot never changes its parent, its id is never
 * given again, and it cannot go while it has a child; so a chain that was walked once need not be walked again, as long as
 * its top is there.
 */
import { dataLoss, invalidArgument, notFound } from '@gantry/errors';
import { keys } from '@gantry/store';
import type { Reader } from '@gantry/store';
import { decodeSnapshot } from './records.ts';
import type { SnapshotRecord } from './records.ts';

/** Chains that are remembered; each has as many ids as its image has layers. */
const limit = 512;

export class Chains {
  /** `snapshotter/id` → that id and those below it. */
  readonly #known = new Map<string, readonly string[]>();

  /**
   * The ids from `parent` down, the nearest first; none for ''. Throws not found, invalid argument when one is not
   * committed, data loss when one has lost files.
   */
  below(reader: Reader, namespace: string, snapshotter: string, parent: string): readonly string[] {
    if (parent === '') return [];
    const top = committedRecord(reader, namespace, snapshotter, parent);
    const place = `${snapshotter}/${top.id}`;
    const known = this.#known.get(place);
    if (known !== undefined) return known;
    const ids = [top.id];
    for (let name = top.parent; name !== '';) {
      const record = committedRecord(reader, namespace, snapshotter, name);
      const rest = this.#known.get(`${snapshotter}/${record.id}`);
      if (rest !== undefined) {
        ids.push(...rest);
        break;
      }
      ids.push(record.id);
      name = record.parent;
    }
    if (this.#known.size >= limit) this.#known.clear();
    this.#known.set(place, ids);
    return ids;
  }
}

/** The record of a snapshot that others are to be built on; see `Chains.below` for the errors. */
export function committedRecord(reader: Reader, namespace: string, snapshotter: string, name: string): SnapshotRecord {
  const bytes = reader.get(keys.snapshots(namespace, snapshotter, name));
  if (bytes === undefined) throw notFound(`parent snapshot ${name} does not exist`, { snapshot: name });
  const record = decodeSnapshot(name, bytes);
  if (record.kind !== 'committed') {
    throw invalidArgument(`parent ${JSON.stringify(name)} is not committed snapshot`, { snapshot: name });
  }
  if (record.damaged === true) {
    throw dataLoss(
      `snapshot ${name} lost files when the power went: remove the image and what is built on it, and bring it in again`,
      { snapshot: name },
    );
  }
  return record;
}
