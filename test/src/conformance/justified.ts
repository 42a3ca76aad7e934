/**
 * Differences from runc that are meant: each has a rule here and its reason in docs/conformance.md.
 */

export interface JustifiedLine {
  readonly id: string;
  /** Takes away from a line what may differ; done to the lines of both. */
  readonly level: (line: string) => string;
  /** Applies only to configurations with this variation. */
  readonly variation?: string;
}

/** What may differ in what a container sees. */
export const justifiedLines: readonly JustifiedLine[] = [
  { id: 'tmpfs mode', level: (line) => line.replace(/( - tmpfs \S+ rw\S*),mode=\d+/, '$1') },
  {
    id: 'tmpfs mode',
    variation: 'tmpfs',
    level: (line) => line.replace(/^(ls: d)\S+( .* (?:a|home|tmp|tmpfs|\/mnt\/made\/tmpfs))$/, '$1$2'),
  },
  {
    id: 'cgroup tmpfs',
    variation: 'cgroup mount',
    level: (line) => line.replace(/^(mount: \/sys\/fs\/cgroup \/ )r[ow]/, '$1'),
  },
  {
    id: 'shared root',
    variation: 'rootfs propagation',
    level: (line) => line.replace(/^(mount: .*?) shared - /, '$1 - '),
  },
  {
    id: 'poststart status',
    variation: 'hooks',
    level: (line) => line.replace(/^(hook: poststart .*)"(?:created|running)"/, '$1'),
  },
  { id: 'state in a hook', variation: 'hooks', level: (line) => line.replace(/^(ls: .*) \d+ (hooked)$/, '$1 $2') },
  { id: 'target of a file', level: (line) => line.replace(/^(left \S+ 100)(?:755|644)/, '$1') },
];

/** The same for crun. A line that becomes empty is not compared. */
export const justifiedForCrun: readonly JustifiedLine[] = [
  { id: 'masked files', level: (line) => line.replace(/^(mount: \/\S+ \/null ).*$/, '$1') },
  { id: 'masked directories', level: (line) => line.replace(/^(mount: \S+ \/ ro\S* - tmpfs tmpfs) .*$/, '$1') },
  {
    id: 'read-only paths',
    level: (line) => line.replace(/^(mount: \/proc\/\S+ \S+ ro),nosuid,nodev,noexec(?=,)/, '$1'),
  },
  { id: 'sysfs', level: (line) => line.replace(/^(mount: \/sys \/ .* - sysfs \S+) r[ow]/, '$1') },
  { id: 'source of cgroup2', level: (line) => line.replace(/^(mount: .* - cgroup2) \S+/, '$1') },
  { id: 'home', level: (line) => (line === 'env: HOME=/' ? '' : line) },
  {
    id: 'tmpfs over a directory',
    level: (line) => line.replace(/^(ls: d)\S+( .* (?:a|home|tmp|tmpfs|\/mnt\/made\/tmpfs))$/, '$1$2'),
  },
];

export interface JustifiedRefusal {
  readonly id: string;
  /** All of them are in the configuration. */
  readonly variations: readonly string[];
}

/** Configurations that one of the two may refuse. */
export const justifiedRefusals: readonly JustifiedRefusal[] = [
  { id: 'data of a bind mount', variations: ['bind with data'] },
  { id: 'maps without a user namespace', variations: ['maps without a user namespace'] },
  { id: 'version', variations: ['version 2'] },
  { id: 'version', variations: ['no version'] },
  { id: 'bind in a user namespace', variations: ['user namespace', 'bind of a file'] },
  { id: 'bind in a user namespace', variations: ['user namespace', 'bind of a directory'] },
];

/** Those that crun refuses or accepts otherwise than we. */
export const refusalsForCrun: readonly JustifiedRefusal[] = [
  { id: 'a target behind a symlink', variations: ['a target behind a symlink'] },
];
