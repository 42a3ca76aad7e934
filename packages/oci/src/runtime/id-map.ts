/**
 * Whose ids are whose, as text: `container:host:length[,container:host:length…]`. So it stands in the labels
 * `containerd.io/snapshot/uidmapping` and `gidmapping` and in the mount options `uidmap=` and `gidmap=`.
 */
import { invalidArgument } from '@gantry/errors';
import type { IdMapping } from './linux.ts';

/** The labels of a snapshot that is to be used with other ids than its layers have. */
export const uidMappingLabel = 'containerd.io/snapshot/uidmapping';
export const gidMappingLabel = 'containerd.io/snapshot/gidmapping';

/** (uid_t)-1 is nobody's id. */
const noId = 2 ** 32 - 1;
/** The kernel takes no more ranges (user_namespaces(7)). */
const maximumRanges = 340;

/** Both maps of a user namespace, or of a mount that shows files as such a namespace has them. */
export interface IdMaps {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
}

/**
 * Reads a map. Invalid argument, naming `field`, for what is no list of ranges, ranges that are empty, reach beyond the
 * last id or overlap on either side, more ranges than the kernel takes, and a map that has no container's root.
 */
export function parseIdMap(text: string, field: string): IdMapping[] {
  const words = text.split(',');
  if (words.length > maximumRanges) {
    throw invalidArgument(`${field}: ${words.length} ranges, the kernel takes ${maximumRanges}`);
  }
  const ranges = words.map((word) => parseRange(word, field));
  for (const side of ['containerID', 'hostID'] as const) {
    const sorted = ranges.toSorted((a, b) => a[side] - b[side]);
    for (const [index, range] of sorted.entries()) {
      const next = sorted[index + 1];
      if (next !== undefined && range[side] + range.size > next[side]) {
        throw invalidArgument(`${field}: ranges ${formatRange(range)} and ${formatRange(next)} overlap`);
      }
    }
  }
  if (hostIdOf(ranges, 0) === undefined)
    throw invalidArgument(`${field}: ${JSON.stringify(text)} has no container's root (0)`);
  return ranges;
}

/** The maps that a snapshot's labels ask for; undefined without any. One without the other is an invalid argument. */
export function idMapsOfLabels(labels: Readonly<Record<string, string>>): IdMaps | undefined {
  return mapsOf(labels[uidMappingLabel], labels[gidMappingLabel], [
    'label ' + uidMappingLabel,
    'label ' + gidMappingLabel,
  ]);
}

/** The maps among a mount's options (`uidmap=`, `gidmap=`), and the other options. */
export function idMapsOfOptions(options: readonly string[]): { maps: IdMaps | undefined; others: string[] } {
  const value = (name: string): string | undefined =>
    options.findLast((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
  const maps = mapsOf(value('uidmap'), value('gidmap'), ['mount option uidmap', 'mount option gidmap']);
  return { maps, others: options.filter((option) => !/^[ug]idmap=/.test(option)) };
}

/** The options that say so to whoever mounts. */
export function idMapOptions({ uidMappings, gidMappings }: IdMaps): string[] {
  return [`uidmap=${formatIdMap(uidMappings)}`, `gidmap=${formatIdMap(gidMappings)}`];
}

/** The text of a map. */
export function formatIdMap(mappings: readonly IdMapping[]): string {
  return mappings.map(formatRange).join(',');
}

/** The maps that lead back: what belongs to a host's id is shown as the container's. */
export function reversedIdMaps({ uidMappings, gidMappings }: IdMaps): IdMaps {
  return { uidMappings: uidMappings.map(reversed), gidMappings: gidMappings.map(reversed) };
}

/** The host's id of a container's id; undefined when it is not mapped. */
export function hostIdOf(mappings: readonly IdMapping[], id: number): number | undefined {
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? undefined : range.hostID + (id - range.containerID);
}

function mapsOf(
  uid: string | undefined,
  gid: string | undefined,
  fields: readonly [string, string],
): IdMaps | undefined {
  if (uid === undefined && gid === undefined) return undefined;
  if (uid === undefined) throw invalidArgument(`${fields[1]} without ${fields[0]}`);
  if (gid === undefined) throw invalidArgument(`${fields[0]} without ${fields[1]}`);
  return { uidMappings: parseIdMap(uid, fields[0]), gidMappings: parseIdMap(gid, fields[1]) };
}

function parseRange(word: string, field: string): IdMapping {
  const found = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(word);
  if (found === null) throw invalidArgument(`${field}: ${JSON.stringify(word)} is not container-id:host-id:length`);
  const [containerID, hostID, size] = [Number(found[1]), Number(found[2]), Number(found[3])];
  if (size === 0) throw invalidArgument(`${field}: range ${JSON.stringify(word)} is empty`);
  if (containerID + size > noId || hostID + size > noId) {
    throw invalidArgument(`${field}: range ${JSON.stringify(word)} reaches beyond the last id`);
  }
  return { containerID, hostID, size };
}

function formatRange({ containerID, hostID, size }: IdMapping): string {
  return `${containerID}:${hostID}:${size}`;
}

function reversed({ containerID, hostID, size }: IdMapping): IdMapping {
  return { containerID: hostID, hostID: containerID, size };
}
