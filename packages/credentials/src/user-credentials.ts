/** Everything this user has logged in to with docker or podman, and with what shares their files. */
import { homedir } from 'node:os';
import path from 'node:path';
import { firstOf } from './credentials.ts';
import type { CredentialSource } from './credentials.ts';
import { DockerConfigCredentials, dockerConfigFile } from './docker-config.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The files in the order they are asked: the one of REGISTRY_AUTH_FILE alone; else docker's, then podman's
 * (containers-auth.json(5)).
 */
export function credentialFiles(environment: Environment = process.env, uid = process.getuid?.() ?? 0): string[] {
  const named = environment['REGISTRY_AUTH_FILE'] ?? '';
  if (named !== '') return [named];
  const runtime = environment['XDG_RUNTIME_DIR'] || `/run/containers/${uid}`;
  const config = environment['XDG_CONFIG_HOME'] || path.join(environment['HOME'] || homedir(), '.config');
  const ofPodman = environment['XDG_RUNTIME_DIR'] ? path.join(runtime, 'containers/auth.json') : `${runtime}/auth.json`;
  return [dockerConfigFile(environment), ofPodman, path.join(config, 'containers/auth.json')];
}

/** The first file that has something for a host answers. Errors as those of `DockerConfigCredentials`. */
export function userCredentials(environment: Environment = process.env): CredentialSource {
  return firstOf(...credentialFiles(environment).map((file) => new DockerConfigCredentials({ file, environment })));
}
