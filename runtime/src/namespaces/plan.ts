/** Which namespaces a container gets: made with its clone(2), made by its own process later, or joined by path. */
import { invalidArgument, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  NSFS_MAGIC,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDONLY,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { LinuxNamespace, NamespaceType, Spec } from '@gantry/oci';
import type { Descriptors } from '../clean-up.ts';

export const namespaceFlags: Readonly<Record<NamespaceType, number>> = {
  pid: CLONE_NEWPID,
  network: CLONE_NEWNET,
  mount: CLONE_NEWNS,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
  user: CLONE_NEWUSER,
  cgroup: CLONE_NEWCGROUP,
  time: CLONE_NEWTIME,
};

/** The names under /proc/PID/ns. */
export const namespaceFiles: Readonly<Record<NamespaceType, string>> = {
  pid: 'pid',
  network: 'net',
  mount: 'mnt',
  ipc: 'ipc',
  uts: 'uts',
  user: 'user',
  cgroup: 'cgroup',
  time: 'time',
};

/** A namespace to join; the descriptor belongs to whoever made the plan. */
export interface JoinedNamespace {
  readonly type: NamespaceType;
  readonly flag: number;
  readonly fd: number;
}

export interface NamespacePlan {
  /** CLONE_NEW* for clone(2): all new ones but cgroup (which is of the group the process is in) and time. */
  readonly cloneFlags: number;
  readonly newUser: boolean;
  readonly newNetwork: boolean;
  readonly newCgroup: boolean;
  readonly newTime: boolean;
  /** Everything joined but pid and user. */
  readonly joins: readonly JoinedNamespace[];
  readonly pid: JoinedNamespace | undefined;
  readonly user: JoinedNamespace | undefined;
  /**
   * The container's process is made by one of its own making, because what it must join before, it could not join
   * after it entered its user namespace (or because a joined user namespace must own the new ones).
   */
  readonly needsIntermediate: boolean;
}

/** The namespace of a type in a configuration. */
export function namespaceOf(spec: Spec, type: NamespaceType): LinuxNamespace | undefined {
  return spec.linux?.namespaces?.find((namespace) => namespace.type === type);
}

/** True when the container has that namespace newly made for it. */
export function hasNew(spec: Spec, type: NamespaceType): boolean {
  const namespace = namespaceOf(spec, type);
  return namespace !== undefined && namespace.path === undefined;
}

/** CLONE_NEW* of all namespaces that a process in the container has other than the runtime. */
export function containerFlags(spec: Spec): number {
  return (spec.linux?.namespaces ?? []).reduce((flags, { type }) => flags | namespaceFlags[type], 0);
}

type PlanCalls = Pick<FileCalls, 'openat' | 'fstatfs' | 'close'>;

/** Opens what is joined by path. The descriptors are kept in `descriptors`. */
export function planNamespaces(sys: PlanCalls, spec: Spec, descriptors: Descriptors): NamespacePlan {
  const joined = new Map<NamespaceType, JoinedNamespace>();
  let cloneFlags = 0;
  for (const [index, { type, path }] of (spec.linux?.namespaces ?? []).entries()) {
    const flag = namespaceFlags[type];
    if (path !== undefined) {
      const fd = descriptors.keep(openNamespace(sys, path, `linux.namespaces[${index}].path`));
      joined.set(type, { type, flag, fd });
    } else if (type !== 'cgroup' && type !== 'time') {
      cloneFlags |= flag;
    }
  }
  const joins = [...joined.values()].filter(({ type }) => type !== 'pid' && type !== 'user');
  const user = joined.get('user');
  const newUser = hasNew(spec, 'user');
  return {
    cloneFlags,
    newUser,
    newNetwork: hasNew(spec, 'network'),
    newCgroup: hasNew(spec, 'cgroup'),
    newTime: hasNew(spec, 'time'),
    joins,
    pid: joined.get('pid'),
    user,
    needsIntermediate: user !== undefined || (newUser && joins.length > 0),
  };
}

function openNamespace(sys: PlanCalls, path: string, field: string): number {
  let fd: number;
  try {
    fd = sys.openat(AT_FDCWD, path, O_RDONLY | O_NOCTTY | O_NONBLOCK);
  } catch (err) {
    throw wrap(err, field, 'invalid argument');
  }
  if (sys.fstatfs(fd).type === NSFS_MAGIC) return fd;
  sys.close(fd);
  throw invalidArgument(`${field}: ${path} is not a namespace`);
}
