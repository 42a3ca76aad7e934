/**
 * Snapshots whose committed layers are EROFS images: `<root>/snapshots/<id>/layer.erofs`, made by mkfs.erofs(1) (Debian:
 * erofs-utils) of what the snapshot changed. They are read-only whatever happens, take a file each instead of thousands, and lie
 * close together. On top of them the kernel puts an overlay, as for overlayfs.
 *
 *     <id>/fs, work      what an active snapshot writes                     gone once it is committed
 *     <id>/layer.erofs   a committed snapshot
 *     <id>/lower         where it is mounted as long as it is a parent, on the host, as containerd's snapshotter of this name does
 *
 *     parents │ kind   │ mount
 *     0       │ active │ bind    <id>/fs  rw,rbind
 *     0       │ view   │ bind    <id>/fs  ro,rbind
 *     1       │ view   │ bind    <p0>/lower  ro,rbind
 *     ≥ 2     │ view   │ overlay lowerdir=<p0>/lower:<p1>/lower…
 *     ≥ 1     │ active │ overlay workdir=,upperdir=<id>/fs,lowerdir=<p0>/lower:…
 *
 * Other ids by labels: as for overlayfs (id-mapped-layers.ts).
 *
 * A layer is mounted when mounts that refer to it are asked for, and unmounted when it is removed. A daemon that ends leaves its
 * mounts: containers and clients have them in their hands.
 */
import { execFile } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { release } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { failedPrecondition, hasErrno, internal, ioError, messageOf } from '@gantry/errors';
import { linux, MNT_DETACH, MS_RDONLY, UMOUNT_NOFOLLOW } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { idMapOptions, idMapsOfLabels } from '@gantry/oci';
import type { IdMaps } from '@gantry/oci';
import type { Labels } from '@gantry/store';
import { diskUsage } from './disk-usage.ts';
import { mappedRoot } from './id-mapped-layers.ts';
import type { CopyMapped } from './id-mapped-layers.ts';
import { bindMount, defaultOverlayOptions, maximumParents } from './overlayfs.ts';
import type { Mount, SnapshotKind } from './snapshot.ts';
import type { Snapshotter, TreeRequest, TreeUsage } from './snapshotter.ts';
import { makeDirectory, TreeDirectories } from './tree-directories.ts';

const run = promisify(execFile);

/** Making an image of a large layer takes its time; past this the commit fails and the snapshot stays active. */
const makeTimeoutMs = 600_000;

type MountCalls = Pick<Syscalls, 'mount' | 'umount2'>;

export interface ErofsOptions {
  /** The snapshotter's own directory. */
  readonly root: string;
  /** Added to every overlay mount; by default what this kernel needs. */
  readonly mountOptions?: readonly string[];
  /** Where layers can be shown with other owners: overlays take id-mapped layers since erofs can be mapped (Linux 5.19). */
  readonly copyMapped?: CopyMapped | undefined;
  readonly sys?: MountCalls;
}

/** See the top of the file and snapshotter.ts. */
export class ErofsSnapshotter implements Snapshotter {
  readonly name = 'erofs';
  readonly root: string;
  readonly #trees: TreeDirectories;
  readonly #mountOptions: readonly string[];
  readonly #sys: MountCalls;
  readonly #copyMapped: CopyMapped | undefined;
  /** Ids of the layers that are mounted, by this process or an earlier one. */
  #mounted: Set<string> | undefined;

  constructor({ root, mountOptions = defaultOverlayOptions(), copyMapped, sys = linux }: ErofsOptions) {
    this.root = root;
    this.#copyMapped = copyMapped;
    this.#trees = new TreeDirectories(root);
    this.#mountOptions = mountOptions;
    this.#sys = sys;
  }

  async create({ id, kind, parents, labels }: TreeRequest): Promise<void> {
    if (parents.length > maximumParents) {
      throw failedPrecondition(`snapshot with ${parents.length} layers, overlayfs takes ${maximumParents}`);
    }
    const [parent] = parents;
    const maps = idMapsOfLabels(labels);
    // As for overlayfs: without layers below, what is written passes through the map.
    const owner =
      maps === undefined || (this.#copyMapped !== undefined && parent === undefined) ? undefined : mappedRoot(maps);
    if (parent !== undefined) await this.#appear(parent);
    await this.#trees.make(id, (directory) => {
      const upper = path.join(directory, 'fs');
      makeDirectory(upper, 0o755);
      if (kind === 'active') makeDirectory(path.join(directory, 'work'), 0o711);
      if (owner !== undefined) chownSync(upper, ...owner);
      else if (parent !== undefined) {
        const { uid, gid } = statSync(this.#at(parent, 'lower'));
        chownSync(upper, uid, gid);
      }
    });
  }

  async mounts({ id, kind, parents, labels }: TreeRequest): Promise<Mount[]> {
    for (const parent of parents) await this.#appear(parent);
    const [parent] = parents;
    const maps = this.#mapsOf(labels);
    const mapping = maps === undefined ? [] : idMapOptions(maps);
    if (parent === undefined) return [bindMount(this.#at(id, 'fs'), kind === 'active' ? 'rw' : 'ro', mapping)];
    if (kind === 'view' && parents.length === 1) return [bindMount(this.#at(parent, 'lower'), 'ro', mapping)];
    const lower = `lowerdir=${parents.map((each) => this.#at(each, 'lower')).join(':')}`;
    const own = kind === 'active' ? [`workdir=${this.#at(id, 'work')}`, `upperdir=${this.#at(id, 'fs')}`] : [];
    return [{ type: 'overlay', source: 'overlay', options: [...mapping, ...this.#mountOptions, ...own, lower] }];
  }

  async freeze({ id, parents, labels }: TreeRequest): Promise<TreeUsage> {
    const image = this.#at(id, 'layer.erofs');
    const upper = this.#at(id, 'fs');
    const maps = parents.length === 0 ? undefined : this.#mapsOf(labels);
    const copy = this.#at(id, 'layer');
    try {
      this.#trees.discard(copy);
      if (maps !== undefined) await this.#copyMapped?.({ from: upper, to: copy, maps });
      await makeImage(`${image}.new`, maps === undefined ? upper : copy);
    } finally {
      this.#trees.discard(copy);
    }
    renameSync(`${image}.new`, image);
    return this.usage(id, [], 'committed');
  }

  thin(id: string): void {
    for (const name of ['fs', 'work', 'layer']) this.#trees.discard(this.#at(id, name));
  }

  async usage(id: string, _parents: readonly string[], kind: SnapshotKind = 'active'): Promise<TreeUsage> {
    if (kind !== 'committed') return diskUsage(this.#at(id, 'fs'));
    const { blocks, size } = statSync(this.#at(id, 'layer.erofs'), { bigint: true });
    return { size: blocks * 512n, inodes: 1n, fileBytes: size };
  }

  async sync(): Promise<void> {
    await this.#trees.sync();
  }

  async remove(id: string): Promise<void> {
    if (this.#known().delete(id)) this.#sys.umount2(this.#at(id, 'lower'), MNT_DETACH | UMOUNT_NOFOLLOW);
    this.#trees.remove(id);
  }

  async list(): Promise<string[]> {
    return this.#trees.list();
  }

  async cleanup(): Promise<void> {
    await this.#trees.cleanup();
  }

  /** Unmounts every layer. What was mounted on top of them stays whole; whoever still wants to mount them cannot. */
  unmountAll(): void {
    for (const id of this.#known()) this.#sys.umount2(this.#at(id, 'lower'), MNT_DETACH | UMOUNT_NOFOLLOW);
    this.#known().clear();
  }

  /** Mounts a committed layer where overlays look for it. */
  async #appear(id: string): Promise<void> {
    if (this.#known().has(id)) return;
    const place = this.#at(id, 'lower');
    const image = this.#at(id, 'layer.erofs');
    mkdirSync(place, { recursive: true, mode: 0o755 });
    // One at a time gets here: nothing is waited for in between, unless the kernel wants a loop device.
    await mountImage(this.#sys, image, place);
    this.#known().add(id);
  }

  #mapsOf(labels: Labels): IdMaps | undefined {
    return this.#copyMapped === undefined ? undefined : idMapsOfLabels(labels);
  }

  #known(): Set<string> {
    this.#mounted ??= mountedLayers(this.root);
    return this.#mounted;
  }

  #at(id: string, name: string): string {
    return path.join(this.#trees.pathOf(id), name);
  }
}

/** The ids of layers that an earlier process has mounted. */
function mountedLayers(root: string): Set<string> {
  const prefix = `${path.join(root, 'snapshots')}/`;
  const places = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_, octal: string) => unescaped(octal)))
    .filter((place) => place.startsWith(prefix) && place.endsWith('/lower'));
  return new Set(places.map((place) => place.slice(prefix.length, -'/lower'.length)));
}

/** mountinfo writes blanks and the like as three octal digits (proc(5)). */
function unescaped(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8));
}

/** Kernels since 6.12 mount the file itself; mount(8) knows how to get a loop device for the others. */
async function mountImage(sys: MountCalls, image: string, place: string): Promise<void> {
  try {
    sys.mount(image, place, 'erofs', MS_RDONLY, undefined);
  } catch (err) {
    if (!hasErrno(err, 'ENOTBLK')) throw ioError(err, `mounting ${image}`, image);
    await command('mount', ['-t', 'erofs', '-o', 'loop,ro', '--', image, place], `mounting ${image}`);
  }
}

/** Inline tails save room and cannot be mapped directly, so that reading them costs more: not for layers. */
async function makeImage(image: string, tree: string): Promise<void> {
  await command('mkfs.erofs', ['-Enoinline_data', image, tree], `making ${image}`);
}

async function command(file: string, words: readonly string[], doing: string): Promise<void> {
  try {
    const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
    await run(file, words, { timeout: makeTimeoutMs, env, maxBuffer: 16 * 1024 * 1024 });
  } catch (err) {
    const said = err instanceof Error && 'stderr' in err ? String(err.stderr).trim().split('\n').at(-1) : '';
    throw internal(`${doing}: ${said === undefined || said === '' ? messageOf(err) : said}`, {}, err);
  }
}

/** Why this host cannot have it, as far as can be told without trying; undefined when nothing speaks against it. */
export function erofsMissing(): string | undefined {
  const isLoaded = readFileSync('/proc/filesystems', 'utf8').includes('\terofs\n');
  if (!isLoaded && !existsSync(`/lib/modules/${release()}/kernel/fs/erofs`)) return 'the kernel has no erofs';
  const places = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin'];
  if (places.some((dir) => existsSync(path.join(dir, 'mkfs.erofs')))) return undefined;
  return 'mkfs.erofs is missing (Debian package erofs-utils)';
}

/** As `erofsMissing`, by making a layer below `root` and mounting it. */
export async function erofsUnusable(root: string, sys: MountCalls = linux): Promise<string | undefined> {
  const missing = erofsMissing();
  if (missing !== undefined) return missing;
  await mkdir(root, { recursive: true, mode: 0o700 });
  const scratch = await mkdtemp(path.join(root, 'probe-'));
  try {
    const [tree, image] = [path.join(scratch, 'tree'), path.join(scratch, 'image')];
    await mkdir(tree);
    await makeImage(image, tree);
    await mountImage(sys, image, tree);
    sys.umount2(tree, MNT_DETACH | UMOUNT_NOFOLLOW);
    return undefined;
  } catch (err) {
    return `erofs below ${root}: ${messageOf(err)}`;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
