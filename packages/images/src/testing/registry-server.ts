/** A real registry (Debian's docker-registry) in a directory and on a port of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Undefined when a registry can be run here, else the reason why not. */
export const registryMissing = ['docker-registry', 'openssl']
  .filter((program) => spawnSync(program, ['version']).error !== undefined)
  .map((program) => `${program} is not installed`)[0];

export const testUser = { username: 'alice', password: 'secret' } as const;

/** bcrypt of the password above, at the lowest cost. */
const passwordFile = 'alice:$2y$04$FPOAA70SrM5UaGsvtdYL1uzCR4Zf9DtHcadP7m3XfJD.WVynvro0W\n';

export interface RegistryServerOptions {
  readonly tls?: Certificate;
  /** File of the certificate that clients must show. */
  readonly clients?: string;
  /** Members of the `auth` section; `htpasswd` takes `testUser`. */
  readonly auth?: 'htpasswd' | { readonly token: TokenAuth };
}

export interface TokenAuth {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** File of the certificate that the tokens are signed with. */
  readonly rootcertbundle: string;
}

export interface RegistryServer {
  /** `127.0.0.1:5000`. */
  readonly host: string;
  readonly url: string;
  /** What it keeps. */
  readonly storage: string;
  stop(): Promise<void>;
}

/** Files of a certificate for localhost and 127.0.0.1 that signs itself. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

export function selfSignedCertificate(directory: string, name = 'localhost'): Certificate {
  mkdirSync(directory, { recursive: true });
  const certificate = path.join(directory, `${name}.crt`);
  const key = path.join(directory, `${name}.key`);
  const words =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -addext subjectAltName=DNS:localhost,IP:127.0.0.1';
  const { status, stderr } = spawnSync('openssl', [
    ...words.split(' '),
    '-subj',
    `/CN=${name}`,
    '-keyout',
    key,
    '-out',
    certificate,
  ]);
  if (status !== 0) throw new Error(`openssl: ${String(stderr)}`);
  return { certificate, key };
}

/** A port nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Starts it below `directory` and waits until it listens. */
export async function startRegistry(
  directory: string,
  { tls, clients, auth }: RegistryServerOptions = {},
): Promise<RegistryServer> {
  const storage = path.join(directory, 'storage');
  mkdirSync(storage, { recursive: true });
  const port = await freePort();
  const passwords = path.join(directory, 'passwords');
  writeFileSync(passwords, passwordFile);
  // JSON is YAML.
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    // Manifests with layers that are elsewhere are taken.
    validation: { manifests: { urls: { allow: ['.*'] } } },
    http: {
      addr: `127.0.0.1:${port}`,
      relativeurls: true,
      ...(tls === undefined
        ? {}
        : { tls: { certificate: tls.certificate, key: tls.key, ...(clients && { clientcas: [clients] }) } }),
    },
    ...(auth === undefined
      ? {}
      : { auth: auth === 'htpasswd' ? { htpasswd: { realm: 'test', path: passwords } } : auth }),
  };
  const file = path.join(directory, 'config.yml');
  const log = path.join(directory, 'registry.log');
  writeFileSync(file, JSON.stringify(config));
  const out = openSync(log, 'w');
  const child = spawn('docker-registry', ['serve', file], { stdio: ['ignore', out, out] });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
  });
  for (let tries = 0; !(await listens(port)); tries++) {
    if (tries === 200 || child.exitCode !== null) {
      child.kill('SIGKILL');
      throw new Error(`docker-registry does not start: ${readFileSync(log, 'utf8').slice(-2000)}`);
    }
    await delay(25);
  }
  return {
    host: `127.0.0.1:${port}`,
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    storage,
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
