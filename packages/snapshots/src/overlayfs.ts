/**
 * Snapshots as the layers of an overlay file system: `<root>/snapshots/<id>/fs` holds what the snapshot changes,
 * `work` beside it is overlayfs's own. The kernel's documentation: Documentation/filesystems/overlayfs.rst.
 *
 *     parents │ kind   │ mount
 *     0       │ active │ bind    <id>/fs  rw,rbind
 *     0       │ view   │ bind    <id>/fs  ro,rbind
 *     1       │ view   │ bind    <p0>/fs  ro,rbind            (one layer needs no overlay)
 *     ≥ 2     │ view   │ overlay lowerdir=<p0>:<p1>…
 *     ≥ 1     │ active │ overlay workdir=,upperdir=,lowerdir=<p0>:<p1>…
 *
 * Where the labels ask for other ids and the kernel can map them, `uidmap=…,gidmap=…` come first, and whose file is whose is
 * this (id-mapped-layers.ts): layers hold the container's ids, whoever mounts them maps them; the upper directory of an overlay
 * holds the host's, which a commit turns into the container's.
 */
import { chownSync, existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { failedPrecondition, hasErrno, messageOf } from '@gantry/errors';
import { idMapOptions, idMapsOfLabels } from '@gantry/oci';
import { linux } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { diskUsage } from './disk-usage.ts';
import { mappedRoot } from './id-mapped-layers.ts';
import type { CopyMapped } from './id-mapped-layers.ts';
import type { Labels } from '@gantry/store';
import type { Mount } from './snapshot.ts';
import type { Snapshotter, TreeRequest, TreeUsage } from './snapshotter.ts';
import { makeDirectory, TreeDirectories } from './tree-directories.ts';

/** More lower layers than this the kernel does not take. */
export const maximumParents = 500;

export interface OverlayfsOptions {
  /** The snapshotter's own directory. */
  readonly root: string;
  /** Added to every overlay mount; by default what this kernel needs (`defaultOverlayOptions`). */
  readonly mountOptions?: readonly string[];
  /** Before those: what the administrator wants. `volatile` concerns what can be written only. */
  readonly extraOptions?: readonly string[];
  /** Where layers can be shown with other owners (`idMapsUnusable`). By default they are not. */
  readonly copyMapped?: CopyMapped | undefined;
}

/** See the table above and snapshotter.ts. */
export class OverlayfsSnapshotter implements Snapshotter {
  readonly name = 'overlayfs';
  readonly root: string;
  readonly #trees: TreeDirectories;
  readonly #mountOptions: readonly string[];
  readonly #isVolatile: boolean;
  readonly #copyMapped: CopyMapped | undefined;

  constructor(options: OverlayfsOptions) {
    const { root, mountOptions = defaultOverlayOptions(), extraOptions = [], copyMapped } = options;
    this.root = root;
    this.#copyMapped = copyMapped;
    this.#trees = new TreeDirectories(root);
    this.#mountOptions = [...extraOptions.filter((option) => option !== 'volatile'), ...mountOptions];
    this.#isVolatile = extraOptions.includes('volatile');
  }

  async create({ id, kind, parents, labels }: TreeRequest): Promise<void> {
    if (parents.length > maximumParents) {
      throw failedPrecondition(`snapshot with ${parents.length} layers, overlayfs takes ${maximumParents}`);
    }
    const owner = this.#mappedOwner(labels, parents);
    await this.#trees.make(id, (directory) => {
      const upper = path.join(directory, 'fs');
      makeDirectory(upper, 0o755);
      if (kind === 'active') makeDirectory(path.join(directory, 'work'), 0o711);
      const [parent] = parents;
      if (owner !== undefined) chownSync(upper, ...owner);
      else if (parent !== undefined) this.#ownAs(parent, upper);
    });
  }

  mounts({ id, kind, parents, labels }: TreeRequest): Mount[] {
    const [parent] = parents;
    const maps = this.#copyMapped === undefined ? undefined : idMapsOfLabels(labels);
    const mapping = maps === undefined ? [] : idMapOptions(maps);
    if (parent === undefined) return [bindMount(this.#upper(id), kind === 'active' ? 'rw' : 'ro', mapping)];
    if (kind === 'view' && parents.length === 1) return [bindMount(this.#upper(parent), 'ro', mapping)];
    const lower = `lowerdir=${parents.map((each) => this.#upper(each)).join(':')}`;
    if (kind === 'active' && this.#isVolatile) this.#forgetVolatile(id);
    const lazy = kind === 'active' && this.#isVolatile ? ['volatile'] : [];
    const own =
      kind === 'active' ? [`workdir=${path.join(this.#trees.pathOf(id), 'work')}`, `upperdir=${this.#upper(id)}`] : [];
    return [
      { type: 'overlay', source: 'overlay', options: [...mapping, ...lazy, ...this.#mountOptions, ...own, lower] },
    ];
  }

  /** A volatile overlay leaves a mark that keeps it from being mounted again, since a crash may have cost it files. */
  #forgetVolatile(id: string): void {
    rmSync(path.join(this.#trees.pathOf(id), 'work/work/incompat/volatile'), { recursive: true, force: true });
  }

  /** An overlay that lacks its lower layers: data for the differ, which writes whiteouts as overlayfs has them. */
  detachedMounts(id: string): Mount[] {
    return [{ type: 'overlay', source: 'overlay', options: [...this.#mountOptions, `upperdir=${this.#upper(id)}`] }];
  }

  rebase(id: string, [parent]: readonly string[]): void {
    if (parent !== undefined) this.#ownAs(parent, this.#upper(id));
  }

  async freeze({ id, parents, labels }: TreeRequest): Promise<TreeUsage> {
    const copy = parents.length === 0 ? undefined : this.#copyMapped;
    const maps = copy === undefined ? undefined : idMapsOfLabels(labels);
    const layer = this.#layer(id);
    // What an earlier attempt has left is of another time.
    this.#trees.discard(layer);
    if (copy === undefined || maps === undefined) return this.usage(id);
    try {
      await copy({ from: this.#upper(id), to: layer, maps });
      return await diskUsage(layer);
    } catch (err) {
      this.#trees.discard(layer);
      throw err;
    }
  }

  /** Puts the copy with the container's ids in the place of the original. */
  thin(id: string): void {
    const layer = this.#layer(id);
    if (!existsSync(layer)) return;
    this.#trees.discard(this.#upper(id));
    renameSync(layer, this.#upper(id));
  }

  async usage(id: string): Promise<TreeUsage> {
    return diskUsage(this.#upper(id));
  }

  async sync(): Promise<void> {
    await this.#trees.sync();
  }

  async remove(id: string): Promise<void> {
    this.#trees.remove(id);
  }

  async list(): Promise<string[]> {
    return this.#trees.list();
  }

  async cleanup(): Promise<void> {
    await this.#trees.cleanup();
  }

  /**
   * Whom the root of a tree belongs to whose ids are mapped; undefined for others. Without layers below, what is written
   * passes through the map and is stored with the container's ids, the root's included.
   */
  #mappedOwner(labels: Labels, parents: readonly string[]): [uid: number, gid: number] | undefined {
    const maps = idMapsOfLabels(labels);
    if (maps === undefined || (this.#copyMapped !== undefined && parents.length === 0)) return undefined;
    return mappedRoot(maps);
  }

  /** The root of a tree belongs to whom the root below it belongs. */
  #ownAs(parent: string, upper: string): void {
    const { uid, gid } = statSync(this.#upper(parent));
    if (uid !== process.geteuid?.() || gid !== process.getegid?.()) chownSync(upper, uid, gid);
  }

  #upper(id: string): string {
    return path.join(this.#trees.pathOf(id), 'fs');
  }

  /** The copy that takes the place of `#upper` once a tree with mapped ids is committed. */
  #layer(id: string): string {
    return path.join(this.#trees.pathOf(id), 'layer');
  }
}

/** `index=off` where the kernel has the switch (layers are shared by many mounts), `userxattr` in a user namespace. */
export function defaultOverlayOptions(): readonly string[] {
  const options: string[] = [];
  if (existsSync('/sys/module/overlay/parameters/index')) options.push('index=off');
  if (inUserNamespace()) options.push('userxattr');
  return options;
}

/**
 * Whether overlays can be mounted with layers below `root`, by making one that is never attached to a path. Returns
 * undefined when they can, else the reason. Needs the privileges the mounts will need.
 */
export async function overlayfsUnusable(
  root: string,
  sys: Pick<Syscalls, 'fsopen' | 'fsconfigString' | 'fsconfigFlag' | 'fsconfigCreate' | 'fsmount' | 'close'> = linux,
): Promise<string | undefined> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  let scratch = '';
  try {
    scratch = await mkdtemp(path.join(root, 'probe-'));
    const directories = ['lower', 'upper', 'work'].map((name) => path.join(scratch, name));
    for (const directory of directories) await mkdir(directory);
    const context = sys.fsopen('overlay');
    try {
      sys.fsconfigString(context, 'lowerdir', path.join(scratch, 'lower'));
      sys.fsconfigString(context, 'upperdir', path.join(scratch, 'upper'));
      sys.fsconfigString(context, 'workdir', path.join(scratch, 'work'));
      // Its end would write all that the file system below has not written yet, which takes as long as it takes.
      sys.fsconfigFlag(context, 'volatile');
      sys.fsconfigCreate(context);
      sys.close(sys.fsmount(context, 0));
    } finally {
      sys.close(context);
    }
    return undefined;
  } catch (err) {
    // A full disk is no property of it: what is there is to be used, and removed.
    if (hasErrno(err, 'ENOSPC', 'EDQUOT')) return undefined;
    return `overlay below ${root}: ${messageOf(err)}`;
  } finally {
    if (scratch !== '') await rm(scratch, { recursive: true, force: true });
  }
}

/** A directory as the tree. */
export function bindMount(source: string, access: 'rw' | 'ro', others: readonly string[] = []): Mount {
  return { type: 'bind', source, options: [...others, access, 'rbind'] };
}

function inUserNamespace(): boolean {
  try {
    const map = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/);
    return map.join(' ') !== '0 0 4294967295';
  } catch {
    return false;
  }
}
