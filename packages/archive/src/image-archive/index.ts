export * from './archive-content.ts';
export { labelReferences } from './label-references.ts';
export type { Wanted } from './label-references.ts';
export { parseDockerManifest } from './docker-manifest.ts';
export type { DockerArchiveImage } from './docker-manifest.ts';
export * from './read-image-archive.ts';
export type { StoredFile } from './store-files.ts';
export * from './write-image-archive.ts';
