/**
 * Credentials of Docker's client configuration, which podman, nerdctl and the others share: `$DOCKER_CONFIG/config.json`
 * or `~/.docker/config.json`, with `auths`, `credsStore` and `credHelpers`. Read anew at each look-up.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { invalidArgument, wrap } from '@gantry/errors';
import { isObject, parseJsonObject, textOf } from './json.ts';
import type { JsonObject } from './json.ts';
import { askHelper } from './credential-helper.ts';
import type { Credentials, CredentialSource, FoundCredentials } from './credentials.ts';

/** The name under which clients store the credentials of docker.io. */
const dockerHubKey = 'https://index.docker.io/v1/';
const dockerHubHosts: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

export interface DockerConfigOptions {
  /** The file; found by the environment when absent. */
  readonly file?: string;
  /** process.env by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Where the client configuration is. */
export function dockerConfigFile(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const directory = environment['DOCKER_CONFIG'];
  if (directory !== undefined && directory !== '') return path.join(directory, 'config.json');
  return path.join(environment['HOME'] || homedir(), '.docker', 'config.json');
}

/**
 * A helper named for the host is asked first, then the store, then `auths`. An absent file has no credentials; a
 * malformed one, or a helper that fails, is an error, because going on as nobody would end in a misleading refusal.
 */
export class DockerConfigCredentials implements CredentialSource {
  readonly #file: string;
  readonly #environment: Readonly<Record<string, string | undefined>>;

  constructor(options: DockerConfigOptions = {}) {
    this.#environment = options.environment ?? process.env;
    this.#file = options.file ?? dockerConfigFile(this.#environment);
  }

  async lookup(host: string, signal?: AbortSignal): Promise<FoundCredentials | undefined> {
    const config = await this.#read();
    if (config === undefined) return undefined;
    const names = dockerHubHosts.has(host) ? [dockerHubKey, ...dockerHubHosts] : [host];
    const helpers = config['credHelpers'];
    const ownHelper = isObject(helpers)
      ? names.map((name) => textOf(helpers, name)).find((name) => name !== undefined)
      : undefined;
    const helper = ownHelper ?? textOf(config, 'credsStore');
    if (helper !== undefined) {
      const server = dockerHubHosts.has(host) ? dockerHubKey : host;
      const credentials = await askHelper(helper, server, { environment: this.#environment, signal });
      if (credentials !== undefined) return { credentials, source: `docker-credential-${helper}` };
    }
    const auths = config['auths'];
    const credentials = isObject(auths) ? this.#inAuths(auths, names) : undefined;
    return credentials && { credentials, source: this.#file };
  }

  async #read(): Promise<JsonObject | undefined> {
    let bytes: Buffer;
    try {
      bytes = await readFile(this.#file);
    } catch (err) {
      if (err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ENOTDIR')) return undefined;
      throw wrap(err, 'reading registry credentials', 'failed precondition');
    }
    return parseJsonObject(bytes, this.#file);
  }

  /** Keys are hosts or, from older clients, URLs. */
  #inAuths(auths: JsonObject, names: readonly string[]): Credentials | undefined {
    const exact = names.find((name) => isObject(auths[name]));
    const key = exact ?? Object.keys(auths).find((candidate) => names.includes(hostOfKey(candidate)));
    const entry = key === undefined ? undefined : auths[key];
    return key === undefined || !isObject(entry)
      ? undefined
      : credentialsOf(entry, `${this.#file}: auths[${JSON.stringify(key)}]`);
  }
}

/** `https://host/v1/` → `host`. */
function hostOfKey(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

/** Undefined for an empty entry, which clients leave behind when a helper has the secret. Throws invalid argument. */
function credentialsOf(entry: JsonObject, where: string): Credentials | undefined {
  const identity = textOf(entry, 'identitytoken');
  if (identity !== undefined) return { kind: 'identity token', token: identity };
  const registry = textOf(entry, 'registrytoken');
  if (registry !== undefined) return { kind: 'registry token', token: registry };
  const packed = textOf(entry, 'auth');
  if (packed !== undefined) return unpackAuth(packed, where);
  const username = textOf(entry, 'username');
  const password = textOf(entry, 'password');
  return username === undefined || password === undefined ? undefined : { kind: 'password', username, password };
}

/** `auth` is base64 of `user:password`. Throws invalid argument when it is not. */
export function unpackAuth(packed: string, where: string): Credentials {
  // Some clients padded the text with NUL bytes.
  const text = Buffer.from(packed, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = text.indexOf(':');
  if (colon <= 0) throw invalidArgument(`${where}: auth is not base64 of user:password`);
  return { kind: 'password', username: text.slice(0, colon), password: text.slice(colon + 1) };
}
