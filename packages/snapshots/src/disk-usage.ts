/** What a tree takes on disk. */
import { lstat } from 'node:fs/promises';
import { hasErrno } from '@gantry/errors';
import { openDirectory } from './directory-fd.ts';
import type { TreeUsage } from './snapshotter.ts';

/** Deeper trees are counted down to here: each level holds a descriptor. */
const maximumDepth = 512;

/**
 * Counts every inode below and including `root` once, hard links too; `size` is blocks × 512, as du(1) and containerd
 * count. What disappears meanwhile is not counted. Undefined trees (no directory) take nothing.
 */
export async function diskUsage(root: string): Promise<TreeUsage> {
  const seen = new Set<string>();
  let size = 0n;
  let fileBytes = 0n;
  const visit = async (path: string | Buffer, depth: number): Promise<void> => {
    const stat = await lstat(path, { bigint: true });
    const inode = `${stat.dev}:${stat.ino}`;
    if (!seen.has(inode)) {
      seen.add(inode);
      size += stat.blocks * 512n;
      if (stat.isFile()) fileBytes += stat.size;
    }
    if (!stat.isDirectory() || depth === maximumDepth) return;
    const directory = await openDirectory(path);
    try {
      for (const name of await directory.names()) {
        await unlessGone(visit(directory.entry(name), depth + 1));
      }
    } finally {
      await directory.close();
    }
  };
  await unlessGone(visit(root, 0));
  return { size, inodes: BigInt(seen.size), fileBytes };
}

/** What a container deletes or replaces while it is being counted does not count. */
async function unlessGone(visit: Promise<void>): Promise<void> {
  try {
    await visit;
  } catch (err) {
    if (!hasErrno(err, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw err;
  }
}
