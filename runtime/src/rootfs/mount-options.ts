/**
 * Mount options as words (`ro`, `rbind`, `rslave`, `mode=755`) made into what the system calls take.
 * Source: OCI runtime specification, config.md "Linux mount options"; mount(8).
 */
import { invalidArgument } from '@gantry/errors';
import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NOSYMFOLLOW,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
  MS_PRIVATE,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
} from '@gantry/libc';

/** Attributes of a mount to set and to clear (mount_setattr(2)). */
export interface AttributeChange {
  readonly set: number;
  readonly clear: number;
}

export interface Propagation {
  readonly type: number;
  readonly recursive: boolean;
}

/** Everything the option list of one mount says. */
export interface MountOptions {
  /** The mount's own attributes. */
  readonly attributes: AttributeChange;
  /** Attributes for the mount and all below it; undefined when no recursive option was given. */
  readonly recursiveAttributes: AttributeChange | undefined;
  /** Propagation changes in the order given. */
  readonly propagation: readonly Propagation[];
  readonly bind: 'no' | 'one' | 'recursive';
  /** Flags of the super block (`ro sync dirsync lazytime mand`), as fsconfig(2) names them. */
  readonly superFlags: readonly string[];
  /** Options of the file system: `key=value` or `flag`. */
  readonly data: readonly string[];
  readonly tmpcopyup: boolean;
  /** Nothing new: what is mounted there already is changed. */
  readonly remount: boolean;
  /** The mount's files belong to others than on disk; for the mount alone or for all below it. */
  readonly idmap: 'no' | 'one' | 'recursive';
}

type AccessTime = 'strictatime' | 'noatime' | 'relatime';

const simple: Readonly<Record<string, AttributeChange>> = {
  ro: { set: MOUNT_ATTR_RDONLY, clear: 0 },
  rw: { set: 0, clear: MOUNT_ATTR_RDONLY },
  nosuid: { set: MOUNT_ATTR_NOSUID, clear: 0 },
  suid: { set: 0, clear: MOUNT_ATTR_NOSUID },
  nodev: { set: MOUNT_ATTR_NODEV, clear: 0 },
  dev: { set: 0, clear: MOUNT_ATTR_NODEV },
  noexec: { set: MOUNT_ATTR_NOEXEC, clear: 0 },
  exec: { set: 0, clear: MOUNT_ATTR_NOEXEC },
  nodiratime: { set: MOUNT_ATTR_NODIRATIME, clear: 0 },
  diratime: { set: 0, clear: MOUNT_ATTR_NODIRATIME },
  nosymfollow: { set: MOUNT_ATTR_NOSYMFOLLOW, clear: 0 },
  symfollow: { set: 0, clear: MOUNT_ATTR_NOSYMFOLLOW },
};

/** Words about access times; the value is which of them it switches on or off. */
const accessTimeWords: Readonly<Record<string, readonly [setting: AccessTime, on: boolean]>> = {
  noatime: ['noatime', true],
  atime: ['noatime', false],
  strictatime: ['strictatime', true],
  nostrictatime: ['strictatime', false],
  relatime: ['relatime', true],
  norelatime: ['relatime', false],
};

const propagations: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  shared: MS_SHARED,
  slave: MS_SLAVE,
  unbindable: MS_UNBINDABLE,
};

/** Flags of the super block that fsconfig(2) knows by these names; the value is what the word switches. */
const superFlagWords: Readonly<Record<string, readonly [flag: string, on: boolean]>> = {
  sync: ['sync', true],
  async: ['sync', false],
  dirsync: ['dirsync', true],
  mand: ['mand', true],
  nomand: ['mand', false],
  lazytime: ['lazytime', true],
  nolazytime: ['lazytime', false],
};

/** Words without an effect on a mount made by descriptor: they change what a failing mount(2) logs, or are for a kernel's own use. */
const ignored: ReadonlySet<string> = new Set(['defaults', 'silent', 'loud', 'iversion', 'noiversion']);

/**
 * The access time setting is one field of three values. Of several words the strictest wins, in whatever order they are
 * given, as with the flags of mount(2).
 */
function accessTimeChange(wanted: ReadonlySet<AccessTime>): AttributeChange {
  const clear = MOUNT_ATTR__ATIME;
  if (wanted.has('strictatime')) return { set: MOUNT_ATTR_STRICTATIME, clear };
  return { set: wanted.has('noatime') ? MOUNT_ATTR_NOATIME : MOUNT_ATTR_RELATIME, clear };
}

class AccessTimes {
  readonly #wanted = new Set<AccessTime>();
  #named = false;

  /** False when it is no word about access times. */
  take(word: string): boolean {
    const found = accessTimeWords[word];
    if (found === undefined) return false;
    this.#named = true;
    if (found[1]) this.#wanted.add(found[0]);
    else this.#wanted.delete(found[0]);
    return true;
  }

  /** `before` with what the words say; undefined stays undefined without any. */
  addTo<T extends AttributeChange | undefined>(before: T): T | AttributeChange {
    return this.#named ? merged(before ?? { set: 0, clear: 0 }, accessTimeChange(this.#wanted)) : before;
  }
}

class Collector {
  attributes: AttributeChange = { set: 0, clear: 0 };
  recursive: AttributeChange | undefined;
  readonly propagation: Propagation[] = [];
  bind: MountOptions['bind'] = 'no';
  readonly superFlags = new Set<string>();
  readonly data: string[] = [];
  tmpcopyup = false;
  remount = false;
  idmap: MountOptions['idmap'] = 'no';
  readonly accessTimes = new AccessTimes();
  readonly recursiveAccessTimes = new AccessTimes();

  take(word: string): void {
    if (this.accessTimes.take(word)) return;
    const change = simple[word];
    if (change !== undefined) {
      this.attributes = merged(this.attributes, change);
      if (word === 'ro') this.superFlags.add('ro');
      if (word === 'rw') this.superFlags.delete('ro');
      return;
    }
    const superFlag = superFlagWords[word];
    if (superFlag !== undefined) {
      if (superFlag[1]) this.superFlags.add(superFlag[0]);
      else this.superFlags.delete(superFlag[0]);
      return;
    }
    if (!ignored.has(word) && !this.#takeKind(word) && !this.#takeRecursive(word)) this.data.push(word);
  }

  #takeKind(word: string): boolean {
    if (word === 'bind') this.bind = this.bind === 'recursive' ? 'recursive' : 'one';
    else if (word === 'rbind') this.bind = 'recursive';
    else if (word === 'tmpcopyup') this.tmpcopyup = true;
    else if (word === 'remount') this.remount = true;
    else if (word === 'idmap') this.idmap = 'one';
    else if (word === 'ridmap') this.idmap = 'recursive';
    else return false;
    return true;
  }

  #takeRecursive(word: string): boolean {
    const type = propagations[word];
    if (type !== undefined) {
      this.propagation.push({ type, recursive: false });
      return true;
    }
    if (!word.startsWith('r')) return false;
    const recursiveType = propagations[word.slice(1)];
    if (recursiveType !== undefined) {
      this.propagation.push({ type: recursiveType, recursive: true });
      return true;
    }
    if (this.recursiveAccessTimes.take(word.slice(1))) return true;
    const change = simple[word.slice(1)];
    if (change === undefined) return false;
    this.recursive = merged(this.recursive ?? { set: 0, clear: 0 }, change);
    return true;
  }
}

/** Later words win: what one sets, the next clears, and the other way round. */
function merged(before: AttributeChange, change: AttributeChange): AttributeChange {
  const set = (before.set & ~change.clear & ~change.set) | change.set;
  return { set, clear: (before.clear & ~change.set) | change.clear };
}

/**
 * Parses the option list of a mount. `field` is where it stands in the configuration, for error texts. Words nobody
 * knows are data for the file system, which refuses what it does not know.
 */
export function parseMountOptions(words: readonly string[], field: string): MountOptions {
  const collector = new Collector();
  for (const word of words) if (word !== '') collector.take(word);
  const { attributes, recursive, propagation, bind, superFlags, data, tmpcopyup, remount, idmap } = collector;
  if (bind !== 'no' && data.length > 0) {
    throw invalidArgument(
      `${field}: bind mounts cannot have any filesystem-specific options applied: ${data.join(',')}`,
    );
  }
  return {
    attributes: collector.accessTimes.addTo(attributes),
    recursiveAttributes: collector.recursiveAccessTimes.addTo(recursive),
    propagation,
    bind,
    superFlags: [...superFlags],
    data,
    tmpcopyup,
    remount,
    idmap,
  };
}

/** `rootfsPropagation` as a propagation type; absent means that host mounts come in and nothing goes out. */
export function rootPropagation(word: string | undefined): Propagation {
  if (word === undefined) return { type: MS_SLAVE, recursive: true };
  const recursive = word.startsWith('r');
  const type = propagations[recursive ? word.slice(1) : word];
  if (type === undefined) throw invalidArgument(`linux.rootfsPropagation: unknown value "${word}"`);
  return { type, recursive };
}
