/** What unpacks layers of a place's content store, without a supervisor around it. */
import type { ContentStore } from '@gantry/content';
import type { Differ } from '@gantry/diff';
import type { LayerApplier } from '../unpack/unpack-image.ts';

export function layerApplier(content: ContentStore, differ: Differ): LayerApplier {
  return {
    detached: true,
    warm: () => differ.warm(),
    apply: async ({ namespace, signal }, { layer: { mediaType, digest, size }, mounts }) => {
      const blobPath = content.blobPath(namespace, digest);
      return differ.apply({ mediaType, digest, size, blobPath, mounts }, signal === undefined ? {} : { signal });
    },
  };
}
