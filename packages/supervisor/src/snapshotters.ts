/** The snapshotters that this host can have and the configuration asks for, and what is to be said of each. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { failedPrecondition } from '@gantry/errors';
import {
  ErofsSnapshotter,
  erofsMissing,
  idMapsUnusable,
  NativeSnapshotter,
  OverlayfsSnapshotter,
  overlayfsUnusable,
} from '@gantry/snapshots';
import type { Snapshotter } from '@gantry/snapshots';
import type { Differ } from '@gantry/diff';
import type { Config } from './config/config.ts';
import { proxiesOf } from './config/proxy-plugins.ts';
import type { SnapshotterPlugin } from './plugins.ts';
import { ProxySnapshotter } from './proxy/proxy-snapshotter.ts';

export interface LoadedSnapshotters {
  /** The first one is the default. */
  readonly snapshotters: readonly Snapshotter[];
  readonly known: readonly SnapshotterPlugin[];
  /** Ends the connections to those in other processes. */
  close(): void;
}

/** overlayfs where the kernel and the file system can, erofs where it and its tool are, native always; then those of others. */
export async function loadSnapshotters(
  root: string,
  { proxyPlugins, overlayOptions, slowChown }: Pick<Config, 'proxyPlugins' | 'overlayOptions' | 'slowChown'>,
  differ: Pick<Differ, 'copy'>,
): Promise<LoadedSnapshotters> {
  const rootOf = (name: string): string => path.join(root, name);
  for (const name of ['overlayfs', 'native', 'erofs']) await mkdir(rootOf(name), { recursive: true, mode: 0o700 });
  const overlayReason = await overlayfsUnusable(rootOf('overlayfs'));
  const erofsReason = overlayReason ?? erofsMissing();
  const canMapIds = overlayReason === undefined && (await idMapsUnusable(rootOf('overlayfs'))) === undefined;
  const copyMapped = canMapIds ? differ.copy.bind(differ) : undefined;
  const mapping = [...(canMapIds ? ['remap-ids'] : []), ...(slowChown ? [] : ['only-remap-ids'])];
  const others = proxiesOf(proxyPlugins, 'snapshot').map((plugin) => ({
    plugin,
    snapshotter: new ProxySnapshotter(plugin),
  }));
  const skipped = (name: string, reason: string | undefined): { error?: unknown } =>
    reason === undefined ? {} : { error: failedPrecondition(`${name}: ${reason}: skip plugin`) };
  return {
    snapshotters: [
      ...(overlayReason === undefined
        ? [new OverlayfsSnapshotter({ root: rootOf('overlayfs'), extraOptions: overlayOptions, copyMapped })]
        : []),
      new NativeSnapshotter({ root: rootOf('native') }),
      ...(erofsReason === undefined ? [new ErofsSnapshotter({ root: rootOf('erofs'), copyMapped })] : []),
      ...others.map(({ snapshotter }) => snapshotter),
    ],
    known: [
      {
        name: 'overlayfs',
        exports: { root: rootOf('overlayfs') },
        capabilities: mapping,
        ...skipped('overlayfs', overlayReason),
      },
      { name: 'native', exports: { root: rootOf('native') } },
      { name: 'erofs', exports: { root: rootOf('erofs') }, capabilities: mapping, ...skipped('erofs', erofsReason) },
      ...others.map(({ plugin: { name, address, exports, capabilities, platform } }) => ({
        name,
        exports: { address, ...exports },
        capabilities,
        platform,
      })),
    ],
    close: () => {
      for (const { snapshotter } of others) snapshotter.close();
    },
  };
}
