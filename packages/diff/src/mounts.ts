/**
 * Getting at the tree that mounts describe, from inside a worker process.
 *
 * Where the tree is just a directory (the upper layer of an overlay, the source of a bind) no mount is needed. Otherwise
 * the mounts are made in a mount namespace of the worker's own, which ends with it: nothing appears on the host.
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { invalidArgument, notImplemented, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_BIND,
  MS_DIRSYNC,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openMappedTree,
  UMOUNT_NOFOLLOW,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { DiffMount } from './differ-types.ts';
import type { PlainMount } from './id-maps.ts';
import type { LayerTarget } from './layer-tar.ts';
import { RootTree } from './root-tree.ts';

/** Mount options that are flags of mount(2); the rest is data for the file system. */
const flagOptions: ReadonlyMap<string, number> = new Map([
  ['bind', MS_BIND],
  ['rbind', MS_BIND | MS_REC],
  ['ro', MS_RDONLY],
  ['rw', 0],
  ['defaults', 0],
  ['nosuid', MS_NOSUID],
  ['nodev', MS_NODEV],
  ['noexec', MS_NOEXEC],
  ['sync', MS_SYNCHRONOUS],
  ['dirsync', MS_DIRSYNC],
  ['noatime', MS_NOATIME],
  ['nodiratime', MS_NODIRATIME],
  ['relatime', MS_RELATIME],
  ['strictatime', MS_STRICTATIME],
]);

/** A page less what the kernel wants for itself. */
const mountDataBytes = 4000;

/** A place to work in, and its undoing. */
export interface Opened<T> {
  readonly value: T;
  close(): void;
}

/** The tree a layer is applied to. Throws invalid argument when the mounts describe nothing writable. */
export function openLayerTarget(sys: Syscalls, mounts: readonly PlainMount[]): Opened<LayerTarget> {
  const [first] = mounts;
  if (first === undefined) throw invalidArgument('no mounts to apply the layer to');
  if (mounts.length === 1 && first.type === 'overlay') {
    const upper = optionValue(first, 'upperdir');
    if (upper !== undefined) return openOverlayUpper(sys, first, upper);
  }
  if (mounts.length === 1 && isBind(first) && !first.options.includes('ro')) {
    const tree = openTree(sys, first.source);
    return { value: naive(tree), close: () => tree.close() };
  }
  if (mounts.at(-1)?.options.includes('ro') === true)
    throw invalidArgument('mounts to apply the layer to are read-only');
  const mounted = mountPrivately(sys, mounts);
  const tree = openTree(sys, mounted.value);
  return {
    value: naive(tree),
    close: () => {
      tree.close();
      mounted.close();
    },
  };
}

/** Makes mounts appear at a new directory inside the worker's own mount namespace; `value` is that directory. */
export function mountPrivately(sys: Syscalls, mounts: readonly PlainMount[]): Opened<string> {
  enterOwnMountNamespace(sys);
  const root = path.join(scratch, String(++places));
  mkdirSync(root);
  privateMounts += 1;
  let made = 0;
  const layers: string[] = [];
  const close = (): void => {
    for (; made > 0; made--) sys.umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW);
    for (const layer of layers) sys.umount2(layer, MNT_DETACH | UMOUNT_NOFOLLOW);
    rmdirSync(root);
    privateMounts -= 1;
    if (privateMounts === 0) leaveOwnMountNamespace(sys);
  };
  try {
    for (const mount of mounts) {
      if (mount.target !== undefined && mount.target !== '' && mount.target !== '/') {
        throw invalidArgument(`mount with target ${JSON.stringify(mount.target)}`);
      }
      mountAt(sys, mount.upperNamespace === undefined ? mount : withMappedLayer(sys, mount, layers), root);
      made += 1;
    }
  } catch (err) {
    close();
    throw wrap(err, 'mounting the snapshot');
  }
  return { value: root, close };
}

/** The nearest layer of an overlay for looking only, which was its upper one, is attached with its ids mapped. */
function withMappedLayer(sys: Syscalls, mount: PlainMount, layers: string[]): DiffMount {
  const [nearest = '', ...others] = lowerDirectories(mount);
  if (optionValue(mount, 'upperdir') !== undefined) {
    throw notImplemented('writing to an overlay with mapped ids among several mounts');
  }
  const place = path.join(scratch, `layer-${++places}`);
  mkdirSync(place);
  const tree = openMappedTree(sys, nearest, mount.upperNamespace ?? -1, MOUNT_ATTR_RDONLY);
  try {
    sys.moveMount(tree, '', AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    sys.close(tree);
  }
  layers.push(place);
  const options = mount.options.filter((option) => !option.startsWith('lowerdir='));
  const lower = [place, ...others.map((each) => each.replaceAll(/[\\:]/g, String.raw`\$&`))].join(':');
  return { ...mount, options: [...options, `lowerdir=${lower}`] };
}

/** The same mounts for looking only: an overlay's upper layer becomes one more lower one, binds become read-only. */
export function readOnlyMounts(mounts: readonly PlainMount[]): PlainMount[] {
  return mounts.map((mount) => {
    const upper = optionValue(mount, 'upperdir');
    if (mount.type !== 'overlay' || upper === undefined) {
      return { ...mount, options: [...mount.options.filter((option) => option !== 'rw' && option !== 'ro'), 'ro'] };
    }
    const others = mount.options.filter((option) => !/^(?:upperdir|workdir|lowerdir)=/.test(option));
    return { ...mount, options: [...others, `lowerdir=${upper}:${optionValue(mount, 'lowerdir') ?? ''}`] };
  });
}

/** True for a mount that only makes a directory appear somewhere else. */
export function isBind(mount: DiffMount): boolean {
  return mount.type === 'bind' || mount.options.includes('bind') || mount.options.includes('rbind');
}

/** The value of `name=…` among a mount's options. */
export function optionValue(mount: DiffMount, name: string): string | undefined {
  return mount.options.find((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** The trees of an overlay's lower layers, the nearest first. */
export function lowerDirectories(mount: DiffMount): string[] {
  const list = optionValue(mount, 'lowerdir');
  // A colon or backslash in a name is escaped by a backslash (overlayfs.rst).
  const found = list?.match(/(?:\\.|[^:\\])+/g) ?? [];
  return found.map((each) => each.replaceAll(/\\(.)/g, '$1'));
}

export function openTree(sys: Syscalls, directory: string): RootTree {
  return new RootTree(sys, sys.openat(AT_FDCWD, directory, O_PATH | O_DIRECTORY));
}

function openOverlayUpper(sys: Syscalls, mount: PlainMount, upper: string): Opened<LayerTarget> {
  const trees: RootTree[] = [];
  const close = (): void => {
    for (const tree of trees) tree.close();
  };
  try {
    const isDetached = optionValue(mount, 'lowerdir') === undefined;
    const { upperNamespace } = mount;
    const [tree, ...lowers] = [upper, ...lowerDirectories(mount)].map((directory, index) => {
      const isMapped = index === 0 && upperNamespace !== undefined;
      const opened = isMapped
        ? new RootTree(sys, openMappedTree(sys, directory, upperNamespace))
        : openTree(sys, directory);
      trees.push(opened);
      return opened;
    });
    if (tree === undefined) throw invalidArgument('overlay without an upper directory');
    const opaqueAttribute = mount.options.includes('userxattr') ? 'user.overlay.opaque' : 'trusted.overlay.opaque';
    return { value: { tree, form: 'overlay', opaqueAttribute, lowers: isDetached ? undefined : lowers }, close };
  } catch (err) {
    close();
    throw err;
  }
}

function naive(tree: RootTree): LayerTarget {
  return { tree, form: 'naive', opaqueAttribute: '', lowers: [] };
}

/** The host's mount namespace while this thread is in another one. */
let hostNamespace: number | undefined;
let privateMounts = 0;
let places = 0;

/**
 * Where mounts are made: in the worker's namespace a small file system lies over this directory, which every system has
 * and no layer is read from. So not even an empty directory is left on the host when a worker is killed.
 */
const scratch = '/sys';

/** unshare(CLONE_NEWNS) of this thread, and nothing that happens here reaches the host. */
function enterOwnMountNamespace(sys: Syscalls): void {
  if (hostNamespace !== undefined) return;
  const host = sys.openat(AT_FDCWD, '/proc/thread-self/ns/mnt', O_RDONLY);
  try {
    sys.unshare(CLONE_NEWNS);
  } catch (err) {
    sys.close(host);
    throw err;
  }
  hostNamespace = host;
  try {
    sys.mount(undefined, '/', undefined, MS_REC | MS_PRIVATE, undefined);
    sys.mount('tmpfs', scratch, 'tmpfs', MS_NOSUID | MS_NODEV | MS_NOEXEC, 'mode=700,size=1m');
  } catch (err) {
    leaveOwnMountNamespace(sys);
    throw err;
  }
}

/** Back to where the supervisor's mounts appear: a snapshotter may mount layers between one job and the next. */
function leaveOwnMountNamespace(sys: Syscalls): void {
  if (hostNamespace === undefined) return;
  sys.setns(hostNamespace, CLONE_NEWNS);
  sys.close(hostNamespace);
  hostNamespace = undefined;
}

function mountAt(sys: Syscalls, mount: DiffMount, target: string): void {
  let flags = mount.type === 'bind' ? MS_BIND : 0;
  const data: string[] = [];
  for (const option of mount.options) {
    const flag = flagOptions.get(option);
    if (flag === undefined) data.push(option);
    else flags |= flag;
  }
  if ((flags & MS_BIND) === 0) {
    withShortPaths(sys, data.join(','), (text) => sys.mount(mount.source, target, mount.type, flags, text));
    return;
  }
  // A bind mount takes its other flags only in a second call.
  sys.mount(mount.source, target, undefined, flags & (MS_BIND | MS_REC), undefined);
  const others = flags & ~(MS_BIND | MS_REC);
  if (others !== 0) sys.mount(undefined, target, undefined, MS_BIND | MS_REMOUNT | others, undefined);
}

/** mount(2) takes one page of data: many layers fit when their paths are relative to the directory they share. */
function withShortPaths(sys: Syscalls, data: string, mount: (data: string) => void): void {
  const paths = [...data.matchAll(/(?<=[=:])\/[^:,]*/g)]
    .map(([found]) => path.dirname(found))
    .filter((found) => found !== scratch);
  const [first, ...others] = paths;
  if (data.length < mountDataBytes || first === undefined) {
    mount(data);
    return;
  }
  let shared = first;
  for (const other of others) while (!`${other}/`.startsWith(`${shared}/`)) shared = path.dirname(shared);
  const back = sys.getcwd();
  sys.chdir(shared);
  try {
    mount(data.replaceAll(`=${shared}/`, '=').replaceAll(`:${shared}/`, ':'));
  } finally {
    sys.chdir(back);
  }
}
