/**
 * Snapshots as full copies: `<root>/snapshots/<id>` is the whole tree. Slow and large, and works on every file system;
 * for places where overlayfs cannot be used.
 */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { messageOf, internal } from '@gantry/errors';
import { diskUsage } from './disk-usage.ts';
import type { Mount } from './snapshot.ts';
import type { Snapshotter, TreeRequest, TreeUsage } from './snapshotter.ts';
import { makeDirectory, TreeDirectories } from './tree-directories.ts';

const run = promisify(execFile);

/** Copying a large image takes its time; past this the prepare fails and leaves nothing. */
const copyTimeoutMs = 600_000;

export interface NativeOptions {
  /** The snapshotter's own directory. */
  readonly root: string;
}

/** See snapshotter.ts. */
export class NativeSnapshotter implements Snapshotter {
  readonly name = 'native';
  readonly root: string;
  readonly #trees: TreeDirectories;

  constructor({ root }: NativeOptions) {
    this.root = root;
    this.#trees = new TreeDirectories(root);
  }

  async create({ id, parents }: TreeRequest): Promise<void> {
    const [parent] = parents;
    await this.#trees.make(id, async (directory) => {
      const tree = path.join(directory, 'fs');
      makeDirectory(tree, 0o755);
      if (parent !== undefined) await copyTree(this.#tree(parent), tree);
    });
  }

  mounts({ id, kind }: TreeRequest): Mount[] {
    return [{ type: 'bind', source: this.#tree(id), options: ['rbind', kind === 'active' ? 'rw' : 'ro'] }];
  }

  async usage(id: string): Promise<TreeUsage> {
    return diskUsage(this.#tree(id));
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

  #tree(id: string): string {
    return path.join(this.#trees.pathOf(id), 'fs');
  }
}

/**
 * Copies a committed tree, which nobody changes: owners, modes, times, links, devices and extended attributes, holes
 * and shared extents where the file system has them. cp(1) of coreutils does that off the event loop.
 */
async function copyTree(from: string, to: string): Promise<void> {
  const options = ['--archive', '--no-target-directory', '--reflink=auto', '--sparse=auto'];
  try {
    await run('cp', [...options, '--', from, to], { timeout: copyTimeoutMs });
  } catch (err) {
    throw internal(`copying ${from}: ${messageOf(err)}`, { path: from }, err);
  }
}
