export { baseLayer, dockerArchive, ociArchive, userLayer } from './images.ts';
export type { ArchiveChoices } from './images.ts';
export { supervisorMissing, testSupervisor } from './supervisor.ts';
export type { TestSupervisor } from './supervisor.ts';
export { tarBytes } from './tar-bytes.ts';
