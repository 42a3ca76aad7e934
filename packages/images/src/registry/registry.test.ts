/** Against a real registry: what we push, we and others pull; what others push, we pull. */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf, messageOf } from '@gantry/errors';
import { mediaTypes } from '@gantry/oci';
import type { Platform } from '@gantry/oci';
import { fixedCredentials } from '@gantry/credentials';
import { DockerConfigCredentials } from '@gantry/credentials';
import { hostDirectories } from '../hosts/host-directory.ts';
import { Transport } from '../http/transport.ts';
import { pullImage } from '../pull/pull-image.ts';
import type { TransferProgress } from '../pull/progress.ts';
import { pushImage } from '../push/push-image.ts';
import {
  digestsIn,
  faultyProxy,
  ingestsIn,
  place,
  put,
  putImage,
  putIndex,
  registryMissing,
  selfSignedCertificate,
  startRegistry,
  startTokenServer,
  testUser,
} from '../testing/index.ts';
import { Registry } from './registry.ts';
import type { RegistryOptions } from './registry.ts';

const skip = registryMissing ?? false;
const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-images-'));
const transport = new Transport({ environment: {} });
t.teardown(async () => {
  await transport.close();
  rmSync(scratch, { recursive: true, force: true });
});

const password = { kind: 'password', ...testUser } as const;
const retry = { attempts: 2, firstDelayMs: 10, maximumDelayMs: 20 };

function registryClient(options: Partial<RegistryOptions> = {}): Registry {
  return new Registry({ send: transport.send, retry, ...options });
}

t.setTimeout(120_000);

/** A directory of its own for each use. */
let places = 0;
function directory(): string {
  const dir = path.join(scratch, String(++places));
  mkdirSync(dir);
  return dir;
}

t.test(
  'an image goes to a registry and comes back, by tag and by digest, over plain HTTP found out by itself',
  { skip },
  async (t) => {
    const server = await startRegistry(directory());
    t.teardown(async () => server.stop());
    const here = await place(directory());
    const made = await putImage(here, { layerBytes: [3_000_000, 1000, 0] });
    const resolver = registryClient();
    const name = `${server.host}/team/box:1`;
    t.same(await pushImage({ resolver, content: here.content }, name, made.descriptor), made.descriptor);

    const there = await place(directory());
    const progress: TransferProgress[] = [];
    const pulled = await pullImage({ resolver, content: there.content }, name, {
      onProgress: (event) => progress.push(event),
    });
    t.same(pulled.name, name);
    t.same(pulled.target, made.descriptor);
    t.same(digestsIn(there), digestsIn(here));
    t.same(await ingestsIn(there), [], 'nothing is half-made');
    const last = new Map(progress.map((event) => [event.descriptor.digest, event.state]));
    t.same([...new Set(last.values())], ['done'], 'every blob was told to be done');

    const labels = there.contentStore.info('ns', made.descriptor.digest).labels;
    t.same(labels, {
      'containerd.io/gc.ref.content.config': made.config.digest,
      'containerd.io/gc.ref.content.l.0': made.layers[0]?.digest,
      'containerd.io/gc.ref.content.l.1': made.layers[1]?.digest,
      'containerd.io/gc.ref.content.l.2': made.layers[2]?.digest,
      'containerd.io/distribution.source.127.0.0.1': 'team/box',
    });

    const byDigest = await pullImage(
      { resolver, content: there.content },
      `${server.host}/team/box@${made.descriptor.digest}`,
    );
    t.same(byDigest.target, made.descriptor);
    t.equal(codeOf(await resolver.resolve(`${server.host}/team/box:2`).catch((err: unknown) => err)), 'not found');
    t.equal(codeOf(await resolver.resolve(`${server.host}/team/nobox:1`).catch((err: unknown) => err)), 'not found');
  },
);

t.test('an index: the best platform, all of them, and none', { skip }, async (t) => {
  const server = await startRegistry(directory());
  t.teardown(async () => server.stop());
  const here = await place(directory());
  const resolver = registryClient();
  const platforms = [
    { os: 'linux', architecture: 'arm64' },
    { os: 'linux', architecture: 'amd64' },
    { os: 'unknown', architecture: 'unknown' },
  ];
  const images = await Promise.all(platforms.map(async (platform) => putImage(here, { platform, layerBytes: [2000] })));
  const entries = images.map(({ descriptor }, index) => ({
    ...descriptor,
    platform: platforms[index] ?? { os: '', architecture: '' },
  }));
  const index = await putIndex(here, entries);
  const name = `${server.host}/multi:1`;
  await pushImage({ resolver, content: here.content }, name, index);

  const one = await place(directory());
  const pulled = await pullImage({ resolver, content: one.content }, name, {
    platforms: [{ os: 'linux', architecture: 'arm64', variant: 'v8' }],
  });
  t.same(
    pulled.manifests.map(({ descriptor }) => descriptor.digest),
    [images[0]?.descriptor.digest],
  );
  t.equal(digestsIn(one).length, 4, 'index, manifest, config, layer');
  t.equal(
    Object.keys(one.contentStore.info('ns', index.digest).labels).filter((key) => key.includes('gc.ref.content.m.'))
      .length,
    3,
  );
  const refused = await pushImage({ resolver, content: one.content }, `${server.host}/elsewhere:1`, index).catch(
    (err: unknown) => err,
  );
  t.match(messageOf(refused), /linux\/amd64 is not stored here: pull all platforms/);
  const alone = await pushImage({ resolver, content: one.content }, `${server.host}/elsewhere:1`, index, {
    platform: { os: 'linux', architecture: 'arm64' },
  });
  t.equal(alone.digest, images[0]?.descriptor.digest, 'one platform goes alone');
  t.equal((await resolver.resolve(`${server.host}/elsewhere:1`)).descriptor.digest, alone.digest);

  const all = await place(directory());
  await pullImage({ resolver, content: all.content }, name, { platforms: 'all' });
  t.same(digestsIn(all), digestsIn(here));

  const known = await place(directory());
  const arm: Platform = { os: 'linux', architecture: 'arm64' };
  const limited = { platforms: [arm, { os: 'linux', architecture: 'amd64' }], manifestLimit: 1, allMetadata: true };
  const first = await pullImage({ resolver, content: known.content }, name, limited);
  t.same(
    first.manifests.map(({ descriptor }) => descriptor.digest),
    [images[0]?.descriptor.digest],
    'of two platforms the first',
  );
  t.equal(digestsIn(known).length, 8, 'index, three manifests, three configs, one layer');

  const none = await place(directory());
  const failure = await pullImage({ resolver, content: none.content }, name, {
    platforms: [{ os: 'linux', architecture: 's390x' }],
  }).catch((err: unknown) => err);
  t.equal(codeOf(failure), 'not found');
  t.match(
    messageOf(failure),
    /no match for platform linux\/s390x in manifest .*: there are linux\/arm64, linux\/amd64$/,
  );
  t.same(digestsIn(none), []);

  const single = images[0]?.descriptor;
  const mismatch = await pullImage({ resolver, content: none.content }, `${server.host}/multi@${single?.digest}`, {
    platforms: [{ os: 'linux', architecture: 's390x' }],
  }).catch((err: unknown) => err);
  t.match(messageOf(mismatch), /no match for platform linux\/s390x .*it is for linux\/arm64$/);
});

t.test('a blob that another repository has is mounted, one that is there is not sent', { skip }, async (t) => {
  const server = await startRegistry(directory());
  const proxy = await faultyProxy(server.url);
  t.teardown(async () => {
    await proxy.stop();
    await server.stop();
  });
  const here = await place(directory());
  const made = await putImage(here);
  const resolver = registryClient();
  await pushImage({ resolver, content: here.content }, `${proxy.host}/team/first:1`, made.descriptor);
  const states: string[] = [];
  const onProgress = ({ state }: TransferProgress): void =>
    void (state === 'waiting' || state === 'transferring' || states.push(state));
  proxy.decide(() => undefined);
  await pushImage({ resolver, content: here.content }, `${proxy.host}/team/second:1`, made.descriptor, { onProgress });
  t.same(states.sort(), ['done', 'mounted', 'mounted', 'mounted'], 'config and both layers are mounted');
  t.notOk(proxy.seen.some(({ method, url }) => (method === 'PUT' || method === 'PATCH') && url.includes('/uploads/')));
  states.length = 0;
  await pushImage({ resolver, content: here.content }, `${proxy.host}/team/second:1`, made.descriptor, { onProgress });
  t.same(states, ['exists', 'exists', 'exists', 'exists']);
});

t.test('blobs go out in pieces when asked to', { skip }, async (t) => {
  const server = await startRegistry(directory());
  const proxy = await faultyProxy(server.url);
  t.teardown(async () => {
    await proxy.stop();
    await server.stop();
  });
  const here = await place(directory());
  const made = await putImage(here, { layerBytes: [2_500_000] });
  const resolver = registryClient();
  await pushImage({ resolver, content: here.content }, `${proxy.host}/box:1`, made.descriptor, {
    chunkBytes: 1_000_000,
  });
  const pieces = proxy.seen.filter(({ method }) => method === 'PATCH').map(({ headers }) => headers['content-range']);
  for (const piece of ['0-999999', '1000000-1999999', '2000000-2499999']) t.ok(pieces.includes(piece), piece);
  const there = await place(directory());
  await pullImage({ resolver, content: there.content }, `${proxy.host}/box:1`);
  t.same(digestsIn(there), digestsIn(here));
});

t.test(
  'TLS and a password: by hosts.toml and the client configuration; every lack of them says what to do',
  { skip },
  async (t) => {
    const dir = directory();
    const tls = selfSignedCertificate(dir);
    const server = await startRegistry(dir, { tls, auth: 'htpasswd' });
    t.teardown(async () => server.stop());
    const certs = path.join(dir, 'certs.d');
    const own = path.join(certs, server.host);
    mkdirSync(own, { recursive: true });
    writeFileSync(path.join(own, 'ca.pem'), readFileSync(tls.certificate));
    writeFileSync(path.join(own, 'hosts.toml'), `server = "${server.url}"\nca = "ca.pem"\n`);
    const hosts = hostDirectories({ directories: [certs] });
    const file = path.join(dir, 'config.json');
    const auth = Buffer.from(`${testUser.username}:${testUser.password}`).toString('base64');
    writeFileSync(file, JSON.stringify({ auths: { [server.host]: { auth } } }));
    const credentials = new DockerConfigCredentials({ file });
    const here = await place(directory());
    const made = await putImage(here);
    const name = `${server.host}/team/box:1`;
    await pushImage({ resolver: registryClient({ hosts, credentials }), content: here.content }, name, made.descriptor);
    const there = await place(directory());
    await pullImage({ resolver: registryClient({ hosts, credentials }), content: there.content }, name);
    t.same(digestsIn(there), digestsIn(here));

    const failure = async (options: Partial<RegistryOptions>): Promise<unknown> =>
      pullImage({ resolver: registryClient(options), content: there.content }, name).catch((err: unknown) => err);
    const nobody = await failure({ hosts });
    t.equal(codeOf(nobody), 'unauthenticated');
    t.match(messageOf(nobody), /there are no credentials for 127\.0\.0\.1:\d+: log in first/);
    const wrong = await failure({
      hosts,
      credentials: fixedCredentials(server.host, { ...password, password: 'nonsense' }),
    });
    t.equal(codeOf(wrong), 'unauthenticated');
    t.match(messageOf(wrong), /credentials for 127\.0\.0\.1:\d+ from the request are not accepted/);
    t.notOk(messageOf(wrong).includes('nonsense'), 'the password is not told');
    writeFileSync(path.join(own, 'hosts.toml'), `server = "${server.url}"\ndial_timeout = "10s"\nca = []\n`);
    const strict = { hostsFor: async () => (await hosts.hostsFor(server.host)).map((host) => ({ ...host, tls: {} })) };
    const untrusted = await failure({ hosts: strict, credentials });
    t.equal(codeOf(untrusted), 'failed precondition');
    t.match(
      messageOf(untrusted),
      /certificate of 127\.0\.0\.1:\d+ is not trusted .*name its CA in the host's hosts\.toml/,
    );
    await pullImage({ resolver: registryClient({ credentials }), content: there.content }, name);
    t.same(digestsIn(there), digestsIn(here), 'on this machine any certificate will do');
  },
);

t.test('bearer tokens: with a password, for nobody, kept, and refused', { skip }, async (t) => {
  const dir = directory();
  const signing = selfSignedCertificate(dir, 'signer');
  const users = { [testUser.username]: testUser.password };
  const refuses = (scope: string): boolean => scope.includes('private');
  const tokens = await startTokenServer({ signing, issuer: 'test', users, refuses });
  const auth = {
    token: { realm: tokens.realm, service: 'registry', issuer: 'test', rootcertbundle: signing.certificate },
  };
  const server = await startRegistry(dir, { auth });
  t.teardown(async () => {
    await server.stop();
    await tokens.stop();
  });
  const here = await place(directory());
  const made = await putImage(here);
  const credentials = fixedCredentials(server.host, password);
  const name = `${server.host}/team/box:1`;
  await pushImage({ resolver: registryClient({ credentials }), content: here.content }, name, made.descriptor);
  t.same([...new Set(tokens.seen.flatMap(({ scopes }) => scopes))], ['repository:team/box:pull,push']);
  t.equal(tokens.seen.length, 1, 'one token serves the whole push');
  t.equal(tokens.seen[0]?.method, 'POST');

  tokens.forget();
  tokens.knowsForm = false;
  const there = await place(directory());
  await pullImage({ resolver: registryClient({ credentials }), content: there.content }, name);
  t.same(
    tokens.seen.map(({ method }) => method),
    ['POST', 'GET'],
    'a server without the form is asked by query',
  );
  t.same(digestsIn(there), digestsIn(here));

  await pushImage(
    { resolver: registryClient({ credentials }), content: here.content },
    `${server.host}/team/other:1`,
    made.descriptor,
  );
  t.ok(
    tokens.seen.some(({ scopes }) => scopes.includes('repository:team/box:pull')),
    'mounting asks to read the other repository',
  );

  const failure = async (where: string, source = credentials): Promise<unknown> =>
    pullImage({ resolver: registryClient({ credentials: source }), content: there.content }, where).catch(
      (err: unknown) => err,
    );
  const denied = await failure(`${server.host}/private/box:1`);
  t.equal(codeOf(denied), 'unauthenticated');
  t.match(messageOf(denied), /credentials for .* from the request are not accepted/);
  const wrong = await failure(name, fixedCredentials(server.host, { ...password, password: 'nonsense' }));
  t.match(messageOf(wrong), /getting a token .*the credentials from the request are refused: log in/);
  const nobody = await failure(name, { lookup: async () => undefined });
  t.match(messageOf(nobody), /there are no credentials/);
});

t.test('referrers of a registry without the API are kept under a tag', { skip }, async (t) => {
  const server = await startRegistry(directory());
  t.teardown(async () => server.stop());
  const here = await place(directory());
  const resolver = registryClient();
  const made = await putImage(here);
  const repository = `${server.host}/signed`;
  await pushImage({ resolver, content: here.content }, `${repository}:1`, made.descriptor);
  t.same(await resolver.referrers(`${repository}:1`, made.descriptor.digest), []);
  const config = await put(here, Buffer.from('{}'), mediaTypes.empty);
  for (const artifactType of ['application/x.signature', 'application/x.sbom']) {
    const artifact = await put(
      here,
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.manifest,
          artifactType,
          config,
          layers: [config],
          subject: made.descriptor,
          annotations: { a: artifactType },
        }),
      ),
      mediaTypes.manifest,
    );
    await pushImage({ resolver, content: here.content }, `${repository}@${artifact.digest}`, artifact);
  }
  const all = await resolver.referrers(`${repository}:1`, made.descriptor.digest);
  t.same(
    all.map(({ artifactType }) => artifactType),
    ['application/x.signature', 'application/x.sbom'],
  );
  const [sbom] = await resolver.referrers(`${repository}:1`, made.descriptor.digest, {
    artifactType: 'application/x.sbom',
  });
  t.same(sbom?.annotations, { a: 'application/x.sbom' });
  const there = await place(directory());
  const pulled = await pullImage({ resolver, content: there.content }, `${repository}@${sbom?.digest}`);
  t.equal(pulled.manifests[0]?.manifest.artifactType, 'application/x.sbom', 'an artifact is pulled as well');
});

const skopeoMissing = spawnSync('skopeo', ['--version']).error === undefined ? undefined : 'skopeo is not installed';

t.test(
  'skopeo pulls what we push and we pull what skopeo pushes, byte for byte',
  { skip: registryMissing ?? skopeoMissing ?? false },
  async (t) => {
    const server = await startRegistry(directory());
    t.teardown(async () => server.stop());
    const here = await place(directory());
    const made = await putImage(here, { layerBytes: [10_000] });
    const resolver = registryClient();
    await pushImage({ resolver, content: here.content }, `${server.host}/ours:1`, made.descriptor);
    const layout = path.join(directory(), 'layout');
    const copy = (...words: string[]): string => {
      const done = spawnSync('skopeo', ['copy', '--insecure-policy', ...words], { timeout: 60_000, encoding: 'utf8' });
      return `${done.status} ${done.stderr}`;
    };
    t.match(
      copy('--src-tls-verify=false', '--preserve-digests', `docker://${server.host}/ours:1`, `oci:${layout}:x`),
      /^0 /,
    );
    t.same(
      JSON.parse(readFileSync(path.join(layout, 'index.json'), 'utf8')).manifests[0].digest,
      made.descriptor.digest,
    );
    t.match(
      copy('--dest-tls-verify=false', '--preserve-digests', `oci:${layout}:x`, `docker://${server.host}/theirs:1`),
      /^0 /,
    );
    const there = await place(directory());
    const pulled = await pullImage({ resolver, content: there.content }, `${server.host}/theirs:1`);
    t.equal(pulled.target.digest, made.descriptor.digest);
    t.same(digestsIn(there), digestsIn(here));
  },
);
