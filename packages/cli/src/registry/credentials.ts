/** Who the user is to a registry: what the command line says, else the client configuration that docker and podman write. */
import { userCredentials } from '@gantry/credentials';
import type { CredentialsFor, RegistryCredentials } from '@gantry/client';
import { GantryError, invalidArgument } from '@gantry/errors';

/** `user` is the flag `--user`. Throws invalid argument for one without a password. */
export function credentialsOf(user: string | undefined): CredentialsFor {
  if (user !== undefined) {
    const colon = user.indexOf(':');
    if (colon <= 0) throw invalidArgument('flag --user is NAME:PASSWORD');
    const given: RegistryCredentials = {
      kind: 'password',
      username: user.slice(0, colon),
      password: user.slice(colon + 1),
    };
    return async () => given;
  }
  const config = userCredentials();
  return async (host) => {
    const found = (await config.lookup(host))?.credentials;
    return found?.kind === 'registry token' ? { kind: 'header', value: `Bearer ${found.token}` } : found;
  };
}

/** How one logs in, on an error that says that one should. */
export function withAdvice(err: unknown): unknown {
  if (!(err instanceof GantryError) || !/\blog in\b/.test(err.message)) return err;
  const how = 'docker login and podman login store a password that gantry finds, --user NAME:PASSWORD gives one';
  return new GantryError(err.code, `${err.message} (${how})`, { cause: err, details: err.details });
}
