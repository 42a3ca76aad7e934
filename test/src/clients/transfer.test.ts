/** Pull and push through gantryd: TLS, a password, news on the way, what breaks and goes on, a crash in the middle. */
import t from 'tap';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TransferProgress } from '@gantry/client';
import { codeOf, messageOf } from '@gantry/errors';
import { gantry, newCtr, RegistryBox, registryBoxMissing, run, until } from '../index.ts';
import type { CommandResult } from '../index.ts';

const skip = registryBoxMissing;

/** What a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (err: unknown) => err,
  );
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const isBlob = (url: string): boolean => url.includes('/blobs/sha256:');

t.setTimeout(120_000);
t.test('images come from a registry and go to one', { skip, timeout: 110_000 }, async (t) => {
  const box = new RegistryBox();
  await box.start();
  const { credentials } = box;
  const leaseIds = async (): Promise<string[]> => (await box.client.leases.list()).map(({ id }) => id);

  await t.test('a pull by name and password brings an image that is unpacked, and tells how it goes', async (t) => {
    const made = await box.seed('team/box:1', [300_000]);
    const name = box.name('team/box:1');
    const news: TransferProgress[] = [];
    const image = await box.client.images.pull(name, { credentials, onProgress: (event) => news.push(event) });
    t.equal(image.target?.digest, made.descriptor.digest);
    const snapshots = (await collected(box.client.snapshots.list())).map(({ kind }) => kind);
    t.same(snapshots, [3, 3], 'two committed snapshots');
    t.same(await leaseIds(), [], 'no lease is left');
    t.same(await box.client.content.statuses(), [], 'nothing is half-made');

    const general = news.filter(({ digest }) => digest === '').map(({ event }) => event);
    t.same(general, [
      `Resolving from OCI Registry (${name})`,
      `Pulling from OCI Registry (${name})`,
      'fetching image content',
      'saved',
      `Completed pull from OCI Registry (${name})`,
    ]);
    for (const layer of made.layers) {
      const own = news.filter(({ digest }) => digest === layer.digest);
      const events = own.map(({ event }) => event).filter((event) => event !== 'downloading');
      t.same(events, ['waiting', 'complete', 'extracting', 'extracted'], layer.digest);
      t.same(own[0]?.parents, [`manifest-${made.descriptor.digest}`]);
      t.equal(own[0]?.name, `layer-${layer.digest}`);
      t.equal(own.at(-1)?.total, BigInt(layer.size));
    }
    const again: string[] = [];
    await box.client.images.pull(name, { credentials, onProgress: ({ digest, event }) => digest && again.push(event) });
    t.same([...new Set(again)].sort(), ['already exists', 'waiting'], 'nothing is fetched twice');
  });

  await t.test('a push brings an image to another repository; blobs that its sibling has are not sent', async (t) => {
    const news: TransferProgress[] = [];
    const [image] = await box.client.images.list();
    const target = box.name('team/copy:2');
    await box.client.images.push(image?.name ?? '', target, { credentials, onProgress: (event) => news.push(event) });
    const there = await box.resolver().resolve(`${box.registry.host}/team/copy:2`);
    t.equal(there.descriptor.digest, image?.target?.digest);
    t.equal(news[0]?.event, `Pushing to OCI Registry (${target})`);
    t.equal(news.at(-1)?.event, `Completed push to OCI Registry (${target})`);
    t.equal(news.filter(({ event }) => event === 'complete').length, 4, 'manifest, config, two layers');
    t.same(await leaseIds(), []);
  });

  await t.test('what is wrong is said so that one knows what to do', async (t) => {
    const name = box.name('team/box:1');
    const pull = async (reference: string, given: Parameters<typeof box.client.images.pull>[1]): Promise<unknown> =>
      failure(box.client.images.pull(reference, given));
    const nobody = await pull(name, {});
    t.match([codeOf(nobody), messageOf(nobody)], ['unauthenticated', /no credentials for .*: log in first/]);
    const wrong = async () => ({ kind: 'password', username: 'alice', password: 'wrong' }) as const;
    t.match(messageOf(await pull(name, { credentials: wrong })), /from the client are not accepted/);
    t.equal(codeOf(await pull(box.name('team/box:none'), { credentials })), 'not found');
    t.equal(codeOf(await pull(box.name('team/box:1'), { credentials, snapshotter: 'nope' })), 'invalid argument');
    const platforms = [{ os: 'linux', architecture: 's390x' }];
    t.match(messageOf(await pull(name, { credentials, platforms })), /no match for platform linux\/s390x/);
    box.proxy.decide(() => ({ answer: { status: 429, headers: { 'retry-after': '3600' } } }));
    t.match(messageOf(await pull(name, { credentials })), /limits the number of requests: try again after 3600 s/);
    box.proxy.decide(() => undefined);
    t.same(await leaseIds(), [], 'a failure that will not pass leaves nothing');
    t.same(await box.client.content.statuses(), []);
  });

  await t.test('image verifiers are asked before anything is fetched, and can say no', async (t) => {
    const made = await box.seed('team/judged:1', [1000]);
    const name = box.name('team/judged:1');
    const verifier = path.join(box.verifiers, 'signatures');
    mkdirSync(box.verifiers);
    const judge = (script: string): void => writeFileSync(verifier, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    judge('grep -q \'"size"\' && echo unsigned && exit 1');
    const blocked = await failure(box.client.images.pull(name, { credentials }));
    t.match(messageOf(blocked), `blocked pull of ${name} with digest ${made.descriptor.digest} for reason`);
    t.match(messageOf(blocked), /verifier signatures rejected image \(exit code 1\): unsigned$/);
    await t.rejects(box.client.content.info(made.descriptor.digest), { code: 'not found' });
    judge(`[ "$2" = ${name} ] && [ "$4" = ${made.descriptor.digest} ]`);
    t.equal((await box.client.images.pull(name, { credentials })).target?.digest, made.descriptor.digest);
    await box.client.images.remove(name);
    rmSync(box.verifiers, { recursive: true });
  });

  await t.test(
    'a pull that broke off goes on: complete layers and the part of the broken one are not fetched again',
    async (t) => {
      const made = await box.seed('team/large:1', [200_000, 2_000_000]);
      const last = made.layers.at(-1)?.digest ?? '';
      const name = box.name('team/large:1');
      box.proxy.decide(({ url }) =>
        url.includes(last)
          ? box.proxy.seen.filter((one) => one.url.includes(last)).length === 1
            ? { cutAfter: 900_000 }
            : { answer: { status: 404 } }
          : undefined,
      );
      t.equal(codeOf(await failure(box.client.images.pull(name, { credentials }))), 'not found');
      const [half] = await box.client.content.statuses();
      t.equal(half?.ref, `layer-${last}`);
      t.ok((half?.offset ?? 0n) >= 800_000n, `${half?.offset} bytes are kept`);

      box.proxy.decide(() => undefined);
      await box.client.images.pull(name, { credentials });
      const ranges = box.proxy.seen.filter(({ url }) => url.includes(last)).map(({ headers }) => headers.range);
      t.same(
        ranges.filter((range) => range !== undefined),
        [`bytes=${half?.offset}-`],
      );
      t.same(await leaseIds(), []);
    },
  );

  await t.test(
    'gantryd is killed amid a pull: the next one goes on, and nothing stays that nobody refers to',
    async (t) => {
      const made = await box.seed('team/killed:1', [200_000, 3_000_000]);
      const name = box.name('team/killed:1');
      const last = made.layers.at(-1)?.digest ?? '';
      box.proxy.decide(({ url }) => (url.includes(last) ? { pieceDelayMs: 100 } : undefined));
      const broken = failure(box.client.images.pull(name, { credentials }));
      const offset = async (): Promise<bigint | undefined> => {
        const statuses = await box.client.content.statuses();
        return statuses.find(({ ref }) => ref === `layer-${last}`)?.offset;
      };
      await until('half of the layer has come', async () => ((await offset()) ?? 0n) > 500_000n);
      const arrived = made.layers.slice(0, -1).map(({ digest }) => digest);
      await until('the other layers have come', async () => {
        const stored = new Set((await collected(box.client.content.list())).map(({ digest }) => digest));
        return arrived.every((digest) => stored.has(digest));
      });
      await box.restart('kill');
      t.equal(codeOf(await broken), 'unavailable');
      box.proxy.decide(() => undefined);
      await box.client.images.pull(name, { credentials });
      const fetched = box.proxy.seen.filter(({ url, method }) => method === 'GET' && isBlob(url));
      t.same(
        fetched.map(({ url }) => url.includes(last)),
        [true],
        'only the layer that was not complete is fetched',
      );
      t.match(fetched[0]?.headers.range, /^bytes=[1-9]\d+-$/);
      t.same(await leaseIds(), []);
      for (const image of await box.client.images.list()) await box.client.images.remove(image.name, { sync: true });
      t.same(await collected(box.client.content.list()), [], 'no content');
      t.same(await collected(box.client.snapshots.list()), [], 'no snapshots');
      t.same(await box.client.content.statuses(), [], 'no ingests');
    },
  );

  await t.test('gantry pulls and pushes with the credentials that docker and podman have stored', async (t) => {
    await box.seed('team/cli:1', [100_000]);
    const name = box.name('team/cli:1');
    const auths = { [box.proxy.host]: { auth: Buffer.from('alice:secret').toString('base64') } };
    writeFileSync(path.join(box.dir, 'config.json'), JSON.stringify({ auths }));
    const call = async (words: readonly string[], config = box.dir): Promise<CommandResult> =>
      gantry(box.daemon, box.namespace, words, { env: { DOCKER_CONFIG: config } });
    const nobody = await call(['pull', name], '/nonexistent');
    t.match(
      [nobody.code, nobody.stderr],
      [125, /^gantry: resolving .* log in first \(docker login .*--user NAME:PASSWORD gives one\)\n$/],
    );
    const broken = path.join(box.dir, 'broken');
    mkdirSync(broken);
    writeFileSync(path.join(broken, 'config.json'), '{"credsStore":"nowhere"}');
    const helpless = await call(['pull', name], broken);
    t.match(
      [helpless.code, helpless.stderr],
      [125, /^gantry: credential helper docker-credential-nowhere cannot be run.*\n$/],
    );
    const pulled = await call(['pull', name]);
    t.equal(pulled.code, 0, pulled.stderr);
    const states = ['Waiting', 'Download complete', 'Extracting', 'Pull complete'].join('\n(?:.*\n)*\\w{12}: ');
    t.match(
      pulled.stdout,
      new RegExp(
        `^\\w{12}: ${states}\n(?:.*\n)*Digest: sha256:\\w{64}\nStatus: Downloaded newer image for ${name}\n${name}\n$`,
      ),
    );
    t.equal((await call(['pull', '-q', name])).stdout, `${name}\n`);
    t.match((await call(['pull', name])).stdout, `Status: Image is up to date for ${name}\n`);
    const other = box.name('team/cli:2');
    const pushed = await call(['push', name, other]);
    t.match([pushed.code, pushed.stdout], [0, /Layer already exists\n(?:.*\n)*Digest: /]);
    t.equal((await call(['rmi', name])).code, 0);
    const ran = await call(['run', '--rm', other, 'echo', 'hello']);
    t.match([ran.code, ran.stdout, ran.stderr], [0, 'hello\n', /Pull complete/], 'what is not here is pulled');
    await call(['rmi', other]);
  });

  await t.test(
    'a ctr of containerd 2 pulls, runs, tags, pushes, exports and imports',
    { skip: newCtr() === undefined && 'no ctr of containerd 2.x' },
    async (t) => {
      const made = await box.seed('team/ctr:1', [100_000]);
      const name = box.name('team/ctr:1');
      const call = async (...words: string[]): Promise<CommandResult> =>
        run(newCtr() ?? '', ['-a', box.daemon.address, '-n', box.namespace, ...words]);
      const user = ['--user', 'alice:secret'];
      const pulled = await call('images', 'pull', ...user, name);
      t.equal(pulled.code, 0, pulled.stderr);
      t.match(pulled.stdout, /extracted/);
      t.equal((await call('run', '--rm', name, 'x', 'echo', 'hello')).stdout, 'hello\n');
      const other = box.name('team/ctr:2');
      t.equal((await call('images', 'tag', name, other)).code, 0);
      const pushed = await call('images', 'push', ...user, other);
      t.equal(pushed.code, 0, pushed.stderr);
      t.equal(
        (await box.resolver().resolve(`${box.registry.host}/team/ctr:2`)).descriptor.digest,
        made.descriptor.digest,
      );
      t.not((await call('images', 'pull', name)).code, 0, 'not without the password');
      const archive = path.join(box.dir, 'ctr.tar');
      const exported = await call('images', 'export', archive, name);
      t.equal(exported.code, 0, exported.stderr);
      await call('images', 'rm', '--sync', name, other);
      const imported = await call('images', 'import', archive);
      t.equal(imported.code, 0, imported.stderr);
      t.match((await call('images', 'ls', '-q')).stdout, name);
      t.equal((await call('run', '--rm', name, 'y', 'echo', 'again')).stdout, 'again\n');
      await call('images', 'rm', '--sync', name);
    },
  );

  await box.end(t);
});
