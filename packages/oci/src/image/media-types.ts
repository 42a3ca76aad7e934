/** The media types of image documents and layers, OCI's and Docker's, and what they say about the content. */

export const mediaTypes = {
  descriptor: 'application/vnd.oci.descriptor.v1+json',
  layout: 'application/vnd.oci.layout.header.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  empty: 'application/vnd.oci.empty.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  layerNonDistributable: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
  layerNonDistributableGzip: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  layerNonDistributableZstd: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerLayerForeign: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
  dockerLayerForeignGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  /** Legacy schema 1; refused. */
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  inToto: 'application/vnd.in-toto+json',
} as const;

/** How a layer's bytes are packed. */
export type LayerCompression = 'none' | 'gzip' | 'zstd';

/** What is known of a layer from its media type. */
export interface LayerMediaType {
  readonly compression: LayerCompression;
  /** Layers that registries do not hold themselves. */
  readonly distributable: boolean;
  readonly encrypted: boolean;
}

const layerTypes: ReadonlyMap<string, readonly [LayerCompression, boolean]> = new Map([
  [mediaTypes.layer, ['none', true]],
  [mediaTypes.layerGzip, ['gzip', true]],
  [mediaTypes.layerZstd, ['zstd', true]],
  [mediaTypes.layerNonDistributable, ['none', false]],
  [mediaTypes.layerNonDistributableGzip, ['gzip', false]],
  [mediaTypes.layerNonDistributableZstd, ['zstd', false]],
  [mediaTypes.dockerLayer, ['none', true]],
  [mediaTypes.dockerLayerGzip, ['gzip', true]],
  [mediaTypes.dockerLayerZstd, ['zstd', true]],
  [mediaTypes.dockerLayerForeign, ['none', false]],
  [mediaTypes.dockerLayerForeignGzip, ['gzip', false]],
]);

const encryptedSuffix = '+encrypted';

/** What a layer's media type says; undefined when it is not a layer that we know. Parameters after `;` are ignored. */
export function layerMediaType(mediaType: string): LayerMediaType | undefined {
  const bare = bareMediaType(mediaType);
  const encrypted = bare.endsWith(encryptedSuffix);
  const known = layerTypes.get(encrypted ? bare.slice(0, -encryptedSuffix.length) : bare);
  return known && { compression: known[0], distributable: known[1], encrypted };
}

export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.index || mediaType === mediaTypes.dockerIndex;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest;
}

export function isConfigType(mediaType: string): boolean {
  return mediaType === mediaTypes.config || mediaType === mediaTypes.dockerConfig;
}

export function isLayerType(mediaType: string): boolean {
  return layerMediaType(mediaType) !== undefined;
}

/** Without parameters (`; charset=…`) and surrounding blanks, lower case. */
export function bareMediaType(mediaType: string): string {
  const semicolon = mediaType.indexOf(';');
  return (semicolon < 0 ? mediaType : mediaType.slice(0, semicolon)).trim().toLowerCase();
}

/** Keys of the annotations that the product reads or writes. */
export const annotations = {
  created: 'org.opencontainers.image.created',
  refName: 'org.opencontainers.image.ref.name',
  baseImageDigest: 'org.opencontainers.image.base.digest',
  baseImageName: 'org.opencontainers.image.base.name',
  /** Full image name in an archive's index. */
  imageName: 'io.containerd.image.name',
  /** `attestation-manifest` marks an index entry that is no image. */
  dockerReferenceType: 'vnd.docker.reference.type',
} as const;
