/** What the differ does for snapshotters, done with cp(1): good enough for trees that nobody changes meanwhile. */
import { execFileSync } from 'node:child_process';
import { linux, openMappedTree, spawnMappingNamespace } from '@gantry/libc';
import type { CopyMapped } from '../id-mapped-layers.ts';

export const copyMapped: CopyMapped = async ({ from, to, maps: { uidMappings, gidMappings } }) => {
  const ranges = (mappings: typeof uidMappings): Parameters<typeof spawnMappingNamespace>[1] =>
    mappings.map(({ containerID, hostID, size }) => ({ inside: hostID, outside: containerID, length: size }));
  const namespace = await spawnMappingNamespace(linux, ranges(uidMappings), ranges(gidMappings));
  const tree = openMappedTree(linux, from, namespace);
  linux.close(namespace);
  execFileSync('cp', ['--archive', '--no-target-directory', `/proc/${process.pid}/fd/${tree}/.`, to]);
  linux.close(tree);
};
