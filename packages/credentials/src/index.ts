export { DockerConfigCredentials, dockerConfigFile } from './docker-config.ts';
export type { DockerConfigOptions } from './docker-config.ts';
export * from './credentials.ts';
export { credentialFiles, userCredentials } from './user-credentials.ts';
