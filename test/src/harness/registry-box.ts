/** A gantryd beside a registry of its own (TLS, a password) that it can only reach through a proxy that spoils things. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import type t from 'tap';
import { connect } from '@gantry/client';
import type { Client, CredentialsFor } from '@gantry/client';
import { fixedCredentials } from '@gantry/credentials';
import { hostDirectories, pushImage, Registry, Transport } from '@gantry/images';
import {
  faultyProxy,
  place,
  putImage,
  registryMissing,
  selfSignedCertificate,
  startRegistry,
  testUser,
} from '@gantry/images/testing';
import type { FaultyProxy, MadeImage, RegistryServer } from '@gantry/images/testing';
import { digestOf } from '@gantry/oci';
import { gantryd } from './gantryd.ts';
import type { DaemonProcess } from './gantryd.ts';
import { hostState, leaks } from './leaks.ts';
import { missing, removeScratch, scratchDirectory, scratchNamespace } from './scratch.ts';
import { busyboxLayer, tar } from './tarball.ts';

/** Why a registry box cannot be had here; false when it can. */
export const registryBoxMissing: string | false = registryMissing ?? missing('busybox') ?? false;

/** A `ctr` of containerd 2.x, for the tests that need one; undefined when there is none. GANTRY_TEST_CTR names it. */
export function newCtr(): string | undefined {
  const candidates = [process.env['GANTRY_TEST_CTR'], path.join(homedir(), 'go/bin/ctr'), 'ctr'];
  return candidates.find((file) => {
    if (file === undefined) return false;
    const said = spawnSync(file, ['--version'], { encoding: 'utf8' }).stdout ?? '';
    return /\bv?[2-9]\.\d+\.\d+/.test(said);
  });
}

/** A containerd 2.1, for what Debian 12's cannot be compared with; undefined when there is none. GANTRY_TEST_CONTAINERD names it. */
export function newContainerd(): string | undefined {
  const candidates = [process.env['GANTRY_TEST_CONTAINERD'], path.join(homedir(), 'go/bin/containerd'), 'containerd'];
  return candidates.find((file) => {
    if (file === undefined) return false;
    const said = spawnSync(file, ['--version'], { encoding: 'utf8' }).stdout ?? '';
    return /\bv?2\.1\.\d+/.test(said);
  });
}

export class RegistryBox {
  readonly dir = scratchDirectory();
  readonly namespace = scratchNamespace('x');
  /** What gantryd is configured with. */
  readonly hostsDir = path.join(this.dir, 'certs.d');
  /** Where image verifiers are; not there yet. */
  readonly verifiers = path.join(this.dir, 'verifiers');
  readonly daemon: DaemonProcess & { root: string; state: string };
  readonly credentials: CredentialsFor = async () => ({ kind: 'password', ...testUser });
  readonly #before = hostState();
  readonly #transport = new Transport({ environment: {} });
  #server: RegistryServer | undefined;
  #proxy: FaultyProxy | undefined;
  #client: Client | undefined;

  constructor() {
    const config = path.join(this.dir, 'config.toml');
    const verifiers = `[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = ${JSON.stringify(this.verifiers)}\n`;
    const registry = `[registry]\nconfig_path = ${JSON.stringify(this.hostsDir)}\n`;
    writeFileSync(config, `${registry}[shim]\nspares = 0\n${verifiers}`);
    this.daemon = gantryd(this.dir, ['--config', config]);
  }

  async start(): Promise<void> {
    const tls = selfSignedCertificate(path.join(this.dir, 'tls'));
    this.#server = await startRegistry(path.join(this.dir, 'r'), { tls, auth: 'htpasswd' });
    this.#proxy = await faultyProxy(this.#server.url, { tls });
    for (const host of [this.#server.host, this.#proxy.host]) {
      const directory = path.join(this.hostsDir, host);
      mkdirSync(directory, { recursive: true });
      writeFileSync(path.join(directory, 'ca.crt'), readFileSync(tls.certificate));
      writeFileSync(path.join(directory, 'hosts.toml'), `server = "https://${host}"\nca = "ca.crt"\n`);
    }
    await this.daemon.start();
  }

  get proxy(): FaultyProxy {
    if (this.#proxy === undefined) throw new Error('the box is not started');
    return this.#proxy;
  }

  get registry(): RegistryServer {
    if (this.#server === undefined) throw new Error('the box is not started');
    return this.#server;
  }

  get client(): Client {
    this.#client ??= connect({ address: this.daemon.address, namespace: this.namespace });
    return this.#client;
  }

  /** The full name by which gantryd gets something out of the registry. */
  name(rest: string): string {
    return `${this.proxy.host}/${rest}`;
  }

  /** Puts an image into the registry behind gantryd's back: busybox, then these layers, or of so many random bytes each. */
  async seed(rest: string, extraLayers: readonly (number | Buffer)[] = []): Promise<MadeImage> {
    const extras = extraLayers.map((layer, index) =>
      typeof layer === 'number' ? tar([{ name: `extra${index}`, body: randomBytes(layer) }]) : layer,
    );
    const layers = [busyboxLayer(), ...extras];
    const here = await place(path.join(this.dir, `seed-${randomBytes(4).toString('hex')}`));
    const made = await putImage(here, {
      layers: layers.map((layer) => gzipSync(layer, { level: 1 })),
      diffIds: layers.map((layer) => digestOf(layer)),
    });
    await pushImage(
      { resolver: this.resolver(), content: here.content },
      `${this.registry.host}/${rest}`,
      made.descriptor,
    );
    return made;
  }

  /** A registry client of the test's own. */
  resolver(): Registry {
    return new Registry({
      send: this.#transport.send,
      hosts: hostDirectories({ directories: [this.hostsDir] }),
      credentials: fixedCredentials(this.registry.host, { kind: 'password', ...testUser }),
    });
  }

  /** Ends gantryd and starts it again; with `how` 'kill' it gets no chance to say goodbye. */
  async restart(how: 'stop' | 'kill', env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await (how === 'kill' ? this.daemon.kill() : this.daemon.stop());
    await this.daemon.start(env);
  }

  /** Stops everything and checks that nothing is left on the host. */
  async end(test: Pick<typeof t, 'same'>): Promise<void> {
    this.#client?.close();
    await this.daemon.stop();
    await this.#proxy?.stop();
    await this.#server?.stop();
    await this.#transport.close();
    test.same(leaks(this.#before, [this.dir, this.namespace]), [], 'nothing is left on the host');
    removeScratch(this.dir);
  }
}
