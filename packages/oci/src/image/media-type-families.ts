/** The same document or layer in OCI's words and in Docker's. */
import { mediaTypes } from './media-types.ts';
import type { LayerCompression } from './media-types.ts';

export type MediaTypeFamily = 'oci' | 'docker';

const pairs: readonly (readonly [oci: string, docker: string])[] = [
  [mediaTypes.index, mediaTypes.dockerIndex],
  [mediaTypes.manifest, mediaTypes.dockerManifest],
  [mediaTypes.config, mediaTypes.dockerConfig],
  [mediaTypes.layer, mediaTypes.dockerLayer],
  [mediaTypes.layerGzip, mediaTypes.dockerLayerGzip],
  [mediaTypes.layerZstd, mediaTypes.dockerLayerZstd],
  [mediaTypes.layerNonDistributable, mediaTypes.dockerLayerForeign],
  [mediaTypes.layerNonDistributableGzip, mediaTypes.dockerLayerForeignGzip],
];

/** The type as the family calls it; itself when the family has no word for it. */
export function mediaTypeIn(family: MediaTypeFamily, mediaType: string): string {
  const pair = pairs.find((names) => names.includes(mediaType));
  if (pair === undefined) return mediaType;
  return family === 'oci' ? pair[0] : pair[1];
}

/** The type of a layer that is packed so; undefined when the family has none. */
export function layerTypeIn(
  family: MediaTypeFamily,
  { compression, distributable }: { readonly compression: LayerCompression; readonly distributable: boolean },
): string | undefined {
  const plain = distributable ? mediaTypes.layer : mediaTypes.layerNonDistributable;
  const oci = compression === 'none' ? plain : `${plain}+${compression}`;
  const named = mediaTypeIn(family, oci);
  return family === 'docker' && named === oci ? undefined : named;
}
