/**
 * Images that go through a registry between gantry and strangers: what skopeo, podman, buildah, umoci and docker push is pulled,
 * runs and is pushed again under another name, byte for byte, and they pull that.
 */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { testUser } from '@gantry/images/testing';
import { gantry, missing, ociArchive, RegistryBox, registryBoxMissing, run, sha256, tar, until } from '../index.ts';

const skip = registryBoxMissing || missing('skopeo') || false;
const creds = `${testUser.username}:${testUser.password}`;

async function must(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, [...args], { timeoutMs: 60_000, env });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

interface Stranger {
  readonly by: string;
  readonly needs: readonly string[];
  /** Pushes an image, made of `source` or by itself, as `name`; then `back` is asked to pull what gantry has pushed. */
  readonly trade: (place: { readonly source: string; readonly dir: string }, name: string) => Promise<Trader>;
}

interface Trader {
  pull(name: string): Promise<unknown>;
  end(): Promise<unknown>;
}

const insecure = ['--tls-verify=false', '--creds', creds];
const none = async (): Promise<void> => undefined;

function copier(dir: string): Trader {
  return {
    pull: async (name) =>
      must('skopeo', [
        'copy',
        '-q',
        '--src-tls-verify=false',
        '--src-creds',
        creds,
        `docker://${name}`,
        `oci:${dir}/back`,
      ]),
    end: none,
  };
}

/** skopeo with these words. */
function skopeo(by: string, ...words: string[]): Stranger {
  return {
    by,
    needs: ['skopeo'],
    async trade({ source, dir }, name) {
      const to = ['--dest-tls-verify=false', '--dest-creds', creds, ...words];
      await must('skopeo', ['copy', '-q', ...to, `oci-archive:${source}`, `docker://${name}`]);
      return copier(dir);
    },
  };
}

const strangers: readonly Stranger[] = [
  skopeo('skopeo'),
  skopeo("skopeo, in docker's format", '--format', 'v2s2'),
  skopeo('skopeo, packed with zstd', '--dest-compress-format', 'zstd', '--dest-compress-level', '3'),
  {
    by: 'umoci and skopeo',
    needs: ['umoci'],
    async trade({ source, dir }, name) {
      const layout = path.join(dir, 'layout');
      await must('skopeo', ['copy', '-q', `oci-archive:${source}`, `oci:${layout}:base`]);
      writeFileSync(path.join(dir, 'new'), 'added by umoci');
      await must('umoci', ['insert', '--image', `${layout}:base`, path.join(dir, 'new'), '/new']);
      const to = ['--dest-tls-verify=false', '--dest-creds', creds];
      await must('skopeo', ['copy', '-q', ...to, `oci:${layout}:base`, `docker://${name}`]);
      return copier(dir);
    },
  },
  ...['podman', 'buildah'].map((tool): Stranger => ({
    by: tool,
    needs: [tool],
    async trade({ source, dir }, name) {
      const storage = ['--root', path.join(dir, 'root'), '--runroot', path.join(dir, 'run')];
      const call = async (...words: string[]): Promise<string> =>
        must(tool, [...storage, '--storage-driver', 'vfs', ...words]);
      const id = (await call('pull', '-q', `oci-archive:${source}`)).split('\n').at(-1) ?? '';
      await call('push', '-q', ...insecure, id, `docker://${name}`);
      return {
        pull: async (back) => call('pull', '-q', ...insecure, `docker://${back}`),
        end: async () => call('rmi', '-a', '-f'),
      };
    },
  })),
  {
    by: 'docker',
    needs: ['dockerd', 'docker'],
    async trade({ source, dir }, name) {
      const host = `unix://${path.join(dir, 'd.sock')}`;
      const words = `--data-root ${dir}/data --exec-root ${dir}/exec --pidfile ${dir}/pid --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --storage-driver vfs`;
      const daemon = spawn('dockerd', ['-H', host, ...words.split(' ')], { stdio: 'ignore' });
      const ended = once(daemon, 'exit');
      const end = async (): Promise<void> => {
        daemon.kill('SIGTERM');
        await ended;
      };
      const auth = Buffer.from(creds).toString('base64');
      const config = { auths: { [name.split('/')[0] ?? '']: { auth } } };
      writeFileSync(path.join(dir, 'config.json'), JSON.stringify(config));
      const docker = async (...more: string[]): Promise<string> =>
        must('docker', ['-H', host, ...more], { DOCKER_CONFIG: dir });
      try {
        await until('dockerd answers', async () =>
          docker('version').then(
            () => true,
            () => daemon.exitCode !== null,
          ),
        );
        const forDocker = path.join(dir, 'in.tar');
        await must('skopeo', ['copy', '-q', `oci-archive:${source}`, `docker-archive:${forDocker}:box:latest`]);
        await docker('load', '-q', '-i', forDocker);
        await docker('tag', 'box:latest', name);
        await docker('push', '-q', name);
        return { pull: async (back) => docker('pull', '-q', back), end };
      } catch (err) {
        await end();
        throw err;
      }
    },
  },
];

t.setTimeout(200_000);
t.test('a registry between gantry and strangers', { skip, timeout: 190_000 }, async (t) => {
  const box = new RegistryBox();
  await box.start();
  const source = path.join(box.dir, 'box.tar');
  writeFileSync(source, ociArchive());
  const registry = box.registry.host;
  const raw = async (name: string): Promise<string> =>
    (await run('skopeo', ['inspect', '--raw', ...insecure, `docker://${name}`])).stdout;
  const call = async (...words: string[]): Promise<string> => {
    const done = await gantry(box.daemon, box.namespace, words);
    t.equal(done.code, 0, `${words.join(' ')}: ${done.stderr}`);
    return done.stdout;
  };
  const login = ['-u', creds];

  for (const [index, { by, needs, trade }] of strangers.entries()) {
    await t.test(by, { skip: missing(...needs) ?? false }, async (t) => {
      const dir = path.join(box.dir, `stranger${index}`);
      mkdirSync(dir);
      const [theirs, ours] = [`${registry}/team/theirs:${index}`, `${registry}/team/ours:${index}`];
      const trader = await trade({ source, dir }, theirs);
      try {
        await call('pull', '-q', ...login, theirs);
        t.equal(await call('run', '--rm', theirs, 'echo', by), `${by}\n`);
        await call('push', '-q', ...login, theirs, ours);
        t.equal(await raw(ours), await raw(theirs), 'the same manifest');
        const [record] = await box.client.images.list([`name==${theirs}`]);
        t.equal(record?.target?.digest, sha256(await raw(theirs)), 'stored as it is in the registry');
        await trader.pull(ours);
      } finally {
        await trader.end();
      }
      await call('rmi', theirs);
    });
  }

  await t.test('an image of several platforms, of which one is here, goes out as that one', async (t) => {
    const name = `${registry}/team/multi:1`;
    const here = process.arch === 'arm64' ? 'arm64' : 'amd64';
    const other = here === 'arm64' ? 'amd64' : 'arm64';
    writeFileSync(path.join(box.dir, 'multi.tar'), severalPlatforms([here, other]));
    await call('load', '-q', '-i', path.join(box.dir, 'multi.tar'));
    writeFileSync(path.join(box.dir, 'others.tar'), severalPlatforms(['s390x', 'riscv64'], 'others:1'));
    t.equal(
      await call('load', '-i', path.join(box.dir, 'others.tar')),
      'Loaded image: others:1\n',
      'it need not run here',
    );
    await call('push', '-q', ...login, 'others:1', `${registry}/team/others:1`);
    await call('rmi', 'others:1');
    await call('push', '-q', ...login, 'multi:1', name);
    const index = await raw(name);
    t.match(JSON.parse(index), { manifests: [{ platform: { architecture: here } }, { platform: {} }, {}] });
    await call('rmi', 'multi:1');
    await call('pull', '-q', ...login, name);
    const again = await gantry(box.daemon, box.namespace, ['push', ...login, name, `${registry}/team/part:1`]);
    t.match([again.code, again.stderr], [0, `only the image for linux/${here} is here: that one is pushed`]);
    const part = await raw(`${registry}/team/part:1`);
    t.equal(sha256(part), JSON.parse(index).manifests[0].digest);
    t.match(again.stdout, `Digest: ${sha256(part)}\n`, 'and says the digest of what was pushed');
    const all = await gantry(box.daemon, box.namespace, [
      'push',
      ...login,
      '--all-platforms',
      name,
      `${registry}/team/all:1`,
    ]);
    t.match([all.code, all.stderr], [125, /is not stored here: pull all platforms before/]);
    await call('pull', '-q', '--all-platforms', ...login, name);
    await call('push', '-q', ...login, name, `${registry}/team/all:1`);
    t.equal(await raw(`${registry}/team/all:1`), index, 'with all that belongs to it, attestations too');
    const file = path.join(box.dir, 'all.tar');
    await call('save', '--all-platforms', '-o', file, name);
    t.equal((await run('skopeo', ['inspect', '--raw', `oci-archive:${file}`])).stdout, index);
    await call('rmi', name);
  });

  await box.end(t);
});

/** An OCI archive of an index: an image for each architecture, and an attestation of the first one. */
function severalPlatforms(architectures: readonly string[], name = 'multi:1'): Buffer {
  const blobs = new Map<string, string>();
  const oci = 'application/vnd.oci.image';
  const add = (document: unknown, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const text = typeof document === 'string' ? document : JSON.stringify(document);
    blobs.set(sha256(text), text);
    return { mediaType, digest: sha256(text), size: Buffer.byteLength(text) };
  };
  const image = (os: string, architecture: string, layer: string, type: string): Record<string, unknown> => {
    const layers = [add(layer, type)];
    const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
    const config = add({ os, architecture, config: {}, rootfs }, `${oci}.config.v1+json`);
    const manifest = { schemaVersion: 2, mediaType: `${oci}.manifest.v1+json`, config, layers };
    return { ...add(manifest, `${oci}.manifest.v1+json`), platform: { os, architecture } };
  };
  const images = architectures.map((architecture) =>
    image('linux', architecture, tar([{ name: architecture, body: 'x' }]).toString('latin1'), `${oci}.layer.v1.tar`),
  );
  const attestation = {
    ...image('unknown', 'unknown', '{"_type":"https://in-toto.io/Statement/v0.1"}', 'application/vnd.in-toto+json'),
    annotations: {
      'vnd.docker.reference.type': 'attestation-manifest',
      'vnd.docker.reference.digest': images[0]?.['digest'],
    },
  };
  const index = { schemaVersion: 2, mediaType: `${oci}.index.v1+json`, manifests: [...images, attestation] };
  const annotations = { 'io.containerd.image.name': `docker.io/library/${name}` };
  const layout = { schemaVersion: 2, manifests: [{ ...add(index, `${oci}.index.v1+json`), annotations }] };
  return tar([
    { name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', body: JSON.stringify(layout) },
    ...[...blobs].map(([digest, body]) => ({ name: `blobs/sha256/${digest.slice(7)}`, body })),
  ]);
}
