/** The user namespace of a container: ranges given one by one, or those that an administrator has given to a name. */
import { readFileSync } from 'node:fs';
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { parseIdMap } from '@gantry/oci';
import type { IdMapping, IdMaps } from '@gantry/oci';

/** What the flags say. */
export interface UserNamespaceFlags {
  readonly userns: string | undefined;
  readonly uidmap: readonly string[];
  readonly gidmap: readonly string[];
}

/** What is in a file of subordinate ids; '' when there is none. */
export type ReadFile = (file: string) => string;

/**
 * Undefined for the host's own ids. `--uidmap` alone says the groups too, and the other way round. Invalid argument; failed
 * precondition, with the line that is missing, for a name without subordinate ids (subuid(5)).
 */
export function userNamespaceOf(flags: UserNamespaceFlags, read: ReadFile = readOptional): IdMaps | undefined {
  const { userns, uidmap, gidmap } = flags;
  const hasMaps = uidmap.length > 0 || gidmap.length > 0;
  if (userns !== undefined && userns !== 'host') {
    if (hasMaps) throw invalidArgument('flag --userns: cannot be used with --uidmap and --gidmap');
    if (!/^[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?$/.test(userns)) {
      throw invalidArgument(`flag --userns: ${JSON.stringify(userns)} is not host or a name of /etc/subuid`);
    }
    return {
      uidMappings: subordinate(read('/etc/subuid'), userns, '/etc/subuid'),
      gidMappings: subordinate(read('/etc/subgid'), userns, '/etc/subgid'),
    };
  }
  if (!hasMaps) return undefined;
  if (userns === 'host') throw invalidArgument('flag --userns: host cannot be used with --uidmap and --gidmap');
  const uids = uidmap.length === 0 ? gidmap : uidmap;
  const gids = gidmap.length === 0 ? uidmap : gidmap;
  const [uidFlag, gidFlag] = [
    uidmap.length === 0 ? '--gidmap' : '--uidmap',
    gidmap.length === 0 ? '--uidmap' : '--gidmap',
  ];
  return {
    uidMappings: parseIdMap(uids.join(','), `flag ${uidFlag}`),
    gidMappings: parseIdMap(gids.join(','), `flag ${gidFlag}`),
  };
}

/** The ranges of a name, one after the other from the container's root on. */
function subordinate(text: string, name: string, file: string): IdMapping[] {
  const ranges: IdMapping[] = [];
  let next = 0;
  for (const line of text.split('\n')) {
    const [owner, start = '', count = '', ...more] = line.trim().split(':');
    if (owner !== name || more.length > 0 || !/^\d+$/.test(start) || !/^\d+$/.test(count)) continue;
    ranges.push({ containerID: next, hostID: Number(start), size: Number(count) });
    next += Number(count);
  }
  if (ranges.length > 0) return parseIdMap(ranges.map(rangeText).join(','), file);
  throw failedPrecondition(
    `nobody called "${name}" has ids in ${file}: add a line such as "${name}:100000:65536" to it`,
  );
}

function rangeText({ containerID, hostID, size }: IdMapping): string {
  return `${containerID}:${hostID}:${size}`;
}

function readOptional(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return '';
    throw err;
  }
}
