/** Unpacking what a transfer brings, for the platforms and into the snapshotters that its request names. */
import { events } from '@gantry/api';
import type { transferTypes } from '@gantry/api';
import { unpackImage } from '@gantry/images';
import type { UnpackableImage, UnpackComponents } from '@gantry/images';
import { hostPlatform, matchPlatform } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { platformOf } from './platforms.ts';
import { unpackProgress } from './progress.ts';
import type { Tell } from './progress.ts';
import type { TransferTools } from './transfers.ts';

export interface Unpacking {
  readonly namespace: string;
  readonly lease: string;
  readonly tell: Tell;
  /** Of the image, for its news. */
  readonly name: string;
}

/** An image to be unpacked and what refers to its layers: its manifest, then an index. */
type Unpackable = UnpackableImage & { readonly parents: readonly Descriptor[] };

/** Unpacks the image for every request whose platform it is for. */
export async function unpackFor(
  tools: TransferTools,
  { namespace, lease, tell, name }: Unpacking,
  requests: readonly transferTypes.UnpackConfiguration[],
  image: Unpackable,
  signal: AbortSignal,
): Promise<void> {
  for (const { platform, snapshotter } of requests) {
    const wanted = platform === undefined ? hostPlatform() : platformOf(platform);
    if (image.config.os !== '' && matchPlatform(wanted, image.config) === undefined) continue;
    const components: UnpackComponents = {
      content: tools.content,
      snapshots: announced(tools, namespace),
      differ: tools.differ,
      namespace,
      snapshotter: snapshotter === '' ? tools.defaultSnapshotter : snapshotter,
      lease,
      turns: tools.turns,
    };
    await unpackImage(components, image, {
      signal,
      onLayer: ({ layer, state }) => {
        tell(unpackProgress(name, image.parents, layer, state === 'unpacking' ? 'extracting' : 'extracted'));
      },
    });
  }
}

/** The snapshots, with the events that the Snapshots service publishes. */
function announced({ snapshots, events: publisher }: TransferTools, namespace: string): UnpackComponents['snapshots'] {
  return {
    stat: (...call) => snapshots.stat(...call),
    canRebase: (...call) => snapshots.canRebase(...call),
    async prepare(ns, snapshotter, options) {
      const mounts = await snapshots.prepare(ns, snapshotter, options);
      const { key, parent } = options;
      publisher.publish(namespace, '/snapshot/prepare', events.SnapshotPrepare, {
        key,
        parent: parent ?? '',
        snapshotter,
      });
      return mounts;
    },
    async commit(ns, snapshotter, options) {
      await snapshots.commit(ns, snapshotter, options);
      const { key, name } = options;
      publisher.publish(namespace, '/snapshot/commit', events.SnapshotCommit, { key, name, snapshotter });
    },
    async remove(ns, snapshotter, key, lease) {
      await snapshots.remove(ns, snapshotter, key, lease);
      publisher.publish(namespace, '/snapshot/remove', events.SnapshotRemove, { key, snapshotter });
    },
  };
}
