/** A registry behind a connection that cuts, slows, corrupts and lies: every pull ends in the right image or a clear error. */
import t from 'tap';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ContentStore } from '@gantry/content';
import { codeOf, messageOf } from '@gantry/errors';
import { mediaTypes } from '@gantry/oci';
import { fixedCredentials } from '@gantry/credentials';
import { defaultHost } from '../hosts/registry-host.ts';
import { Transport } from '../http/transport.ts';
import { imageContent } from '../image-content.ts';
import { KeyedTurns } from '../keyed-turns.ts';
import { pushImage } from '../push/push-image.ts';
import { Registry } from '../registry/registry.ts';
import type { RegistryOptions } from '../registry/registry.ts';
import {
  digestsIn,
  faultyProxy,
  ingestsIn,
  place,
  putImage,
  registryMissing,
  selfSignedCertificate,
  startRegistry,
  testUser,
  times,
} from '../testing/index.ts';
import type { Decide, FaultyProxy, MadeImage, Place, SeenRequest } from '../testing/index.ts';
import type { RegistryServer } from '../testing/registry-server.ts';
import { pullImage } from './pull-image.ts';
import type { PullOptions } from './pull-image.ts';

const skip = registryMissing ?? false;
const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-faults-'));
const transport = new Transport({ environment: {}, timeouts: { connectMs: 2000, answerMs: 1500, idleMs: 1500 } });

t.setTimeout(120_000);

let places = 0;
function directory(): string {
  const dir = path.join(scratch, String(++places));
  mkdirSync(dir);
  return dir;
}

const retry = { attempts: 3, firstDelayMs: 5, maximumDelayMs: 20, maximumRetryAfterMs: 1500 };
const plain = { hostsFor: async (domain: string) => [defaultHost(domain, { plainHttp: true })] };

function registryClient(options: Partial<RegistryOptions> = {}): Registry {
  return new Registry({ send: transport.send, retry, hosts: plain, ...options });
}

interface Scene {
  readonly server: RegistryServer;
  readonly proxy: FaultyProxy;
  readonly origin: Place;
  readonly made: MadeImage;
}

const isLayer = ({ made }: Scene, { method, url }: SeenRequest): boolean =>
  method === 'GET' && made.layers.some(({ digest }) => url.endsWith(`/blobs/${digest}`));
const isManifest = ({ method, url }: SeenRequest): boolean => method === 'GET' && url.includes('/manifests/');
const isHead = ({ method, url }: SeenRequest): boolean => method === 'HEAD' && url.includes('/manifests/');

let scene: Scene | undefined;
function current(): Scene {
  if (scene === undefined) throw new Error('no registry');
  return scene;
}

t.before(async () => {
  if (skip !== false) return;
  const server = await startRegistry(directory());
  const origin = await place(directory());
  const made = await putImage(origin, { layerBytes: [4_000_000, 20_000] });
  await pushImage({ resolver: registryClient(), content: origin.content }, `${server.host}/box:1`, made.descriptor);
  scene = { server, proxy: await faultyProxy(server.url), origin, made };
});

t.teardown(async () => {
  await transport.close();
  await scene?.proxy.stop();
  await scene?.server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

interface Outcome {
  readonly there: Place;
  readonly err: unknown;
}

async function pullThrough(rule: Decide, options: PullOptions = {}, there?: Place): Promise<Outcome> {
  const { proxy } = current();
  proxy.decide(rule);
  const where = there ?? (await place(directory()));
  const components = { resolver: registryClient(), content: where.content, retry };
  try {
    await pullImage(components, `${proxy.host}/box:1`, options);
    return { there: where, err: undefined };
  } catch (err) {
    return { there: where, err };
  }
}

/** Faults that a pull must survive. */
const survived: Readonly<Record<string, () => Decide>> = {
  'a connection cut once': () => times(1, (request) => isLayer(current(), request), { cutAfter: 1_000_000 }),
  'every connection cut after 1 MB': () => (request) =>
    isLayer(current(), request) ? { cutAfter: 1_000_000 } : undefined,
  'a manifest cut off': () => times(1, isManifest, { cutAfter: 100 }),
  'slow pieces': () => (request) => (isLayer(current(), request) ? { pieceDelayMs: 5 } : undefined),
  'two internal errors': () => times(2, () => true, { answer: { status: 500 } }),
  'too many requests, once, with a date': () =>
    times(1, (request) => isLayer(current(), request), {
      answer: { status: 429, headers: { 'retry-after': new Date(Date.now() + 500).toUTCString() } },
    }),
  'a digest header that lies': () => (request) =>
    isManifest(request) || isLayer(current(), request)
      ? { headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } }
      : undefined,
  'a corrupted byte, once': () => times(1, (request) => isLayer(current(), request), { corruptAt: 777 }),
  'bodies that are compressed unasked': () => () => ({ gzip: true }),
  'compressed bodies, one of them cut': () => {
    const cut = times(1, (request) => isLayer(current(), request), { gzip: true, cutAfter: 1_000_000 });
    return (request) => cut(request) ?? { gzip: true };
  },
  'HEAD not allowed': () => (request) => (isHead(request) ? { answer: { status: 405 } } : undefined),
  'no content type': () => (request) =>
    isHead(request) || isManifest(request) ? { headers: { 'content-type': 'text/plain' } } : undefined,
  'no digest header': () => (request) =>
    isHead(request) || isManifest(request) ? { headers: { 'docker-content-digest': '' } } : undefined,
};

for (const [fault, rule] of Object.entries(survived)) {
  t.test(`a pull survives ${fault}`, { skip }, async (t) => {
    const { there, err } = await pullThrough(rule());
    t.equal(err === undefined ? '' : messageOf(err), '');
    t.same(digestsIn(there), digestsIn(current().origin));
    t.same(await ingestsIn(there), []);
  });
}

/** Faults that no pull can survive: code and sentence. */
const refused: Readonly<Record<string, readonly [rule: () => Decide, code: string, sentence: RegExp]>> = {
  'a layer that is always corrupt': [
    () => (request) => (isLayer(current(), request) ? { corruptAt: 5 } : undefined),
    'data loss',
    /sends other content \(sha256:/,
  ],
  'a layer that is too long': [
    () => (request) => (isLayer(current(), request) ? { append: 'x' } : undefined),
    'data loss',
    /sends more than the \d+ bytes it should have/,
  ],
  'a manifest that is corrupt': [
    () => (request) => (isManifest(request) ? { corruptAt: 5 } : undefined),
    'data loss',
    /sends other content/,
  ],
  'connections that bring nothing': [
    () => (request) => (isLayer(current(), request) ? { cutAfter: 0 } : undefined),
    'unavailable',
    /GET http:/,
  ],
  'a content length that lies': [
    () => (request) => (isLayer(current(), request) ? { headers: { 'content-length': '10' } } : undefined),
    'unavailable',
    /GET http:|stopped after/,
  ],
  'internal errors for ever': [
    () => (request) => (isLayer(current(), request) ? { answer: { status: 500 } } : undefined),
    'unavailable',
    /answered 500/,
  ],
  'too many requests for ever': [
    () => (request) =>
      isLayer(current(), request) ? { answer: { status: 429, headers: { 'retry-after': '120' } } } : undefined,
    'resource exhausted',
    /limits the number of requests: try again after 120 s, log in/,
  ],
  'a layer that is gone': [
    () => (request) =>
      isLayer(current(), request)
        ? { answer: { status: 404, body: '{"errors":[{"code":"BLOB_UNKNOWN","message":"gone\\u0007"}]}' } }
        : undefined,
    'not found',
    /answered 404 \(BLOB_UNKNOWN: gone\)/,
  ],
  'no permission': [
    () => (request) => (isLayer(current(), request) ? { answer: { status: 403 } } : undefined),
    'permission denied',
    /do not allow this/,
  ],
  'a manifest without end': [
    () => (request) =>
      isHead(request)
        ? {
            answer: {
              status: 200,
              headers: {
                'content-type': mediaTypes.manifest,
                'content-length': '99999999',
                'docker-content-digest': `sha256:${'1'.repeat(64)}`,
              },
            },
          }
        : undefined,
    'resource exhausted',
    /manifest has 99999999 bytes/,
  ],
  'a manifest without end and without length': [
    () => (request) =>
      isHead(request)
        ? { answer: { status: 405 } }
        : isManifest(request)
          ? { append: ' '.repeat(5_000_000) }
          : undefined,
    'resource exhausted',
    /larger than 4194304 bytes/,
  ],
  'schema 1': [
    () => (request) => (isHead(request) ? { headers: { 'content-type': mediaTypes.dockerSchema1 } } : undefined),
    'not implemented',
    /schema 1, which no current tool reads/,
  ],
  'an index sold as a manifest': [
    () => (request) => (isHead(request) ? { headers: { 'content-type': mediaTypes.index } } : undefined),
    'invalid argument',
    /ambiguous|manifests|mediaType/,
  ],
  'a web page instead of a manifest': [
    () => () => ({ answer: { status: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>' } }),
    'invalid argument',
    /answers with a web page: is 127\.0\.0\.1:\d+ a registry\?/,
  ],
  'a web page that says what is broken': [
    () => () => ({ answer: { status: 502, headers: { 'content-type': 'text/html' }, body: '<h1>Bad Gateway</h1>' } }),
    'unavailable',
    /answered 502/,
  ],
  'a coding that nobody knows': [
    () => (request) => (isLayer(current(), request) ? { headers: { 'content-encoding': 'exi' } } : undefined),
    'unavailable',
    /answers in the encoding "exi"/,
  ],
  'a layer without end': [
    () => (request) => (isLayer(current(), request) ? { append: 'x'.repeat(50_000_000) } : undefined),
    'data loss',
    /sends more than/,
  ],
  'redirects without end': [
    () => (request) =>
      isLayer(current(), request) ? { answer: { status: 307, headers: { location: request.url } } } : undefined,
    'unavailable',
    /more than 10 redirects/,
  ],
  'a server that never answers': [
    () => (request) => (isLayer(current(), request) ? { pieceDelayMs: 3000 } : undefined),
    'unavailable',
    /no answer in time/,
  ],
};

for (const [fault, [rule, code, sentence]] of Object.entries(refused)) {
  t.test(`a pull ends clearly at ${fault}`, { skip }, async (t) => {
    const { there, err } = await pullThrough(rule());
    t.equal(codeOf(err), code, messageOf(err));
    t.match(messageOf(err), sentence);
    t.notOk(
      there.contentStore.has('ns', current().made.descriptor.digest),
      'a manifest is stored only when it is complete',
    );
    const again = await pullThrough(() => undefined, {}, there);
    t.equal(again.err === undefined ? '' : messageOf(again.err), '', 'and does not stand in the way of the next one');
    t.same(digestsIn(there), digestsIn(current().origin));
    t.same(await ingestsIn(there), []);
  });
}

t.test('cut every megabyte, hardly a byte is fetched twice', { skip }, async (t) => {
  const { made, proxy } = current();
  await pullThrough((request) => (isLayer(current(), request) ? { cutAfter: 1_000_000 } : undefined));
  const size = made.layers.reduce((sum, layer) => sum + layer.size, 0);
  t.ok(proxy.sentBytes <= size * 1.1, `${proxy.sentBytes} of ${size} bytes`);
});

t.test('an interrupted pull goes on where it ended, also in another process', { skip }, async (t) => {
  const { made, proxy, origin } = current();
  const there = await place(directory());
  const stop = new AbortController();
  const first = await pullThrough(
    (request) => (isLayer(current(), request) ? { pieceDelayMs: 10 } : undefined),
    {
      signal: stop.signal,
      onProgress: ({ offset, state }) => void (state === 'transferring' && offset > 1_000_000 && stop.abort()),
    },
    there,
  );
  t.equal(codeOf(first.err), 'cancelled');
  const [ref = ''] = (await ingestsIn(there)).filter((name) => name === `layer-${made.layers[0]?.digest}`);
  const { offset } = await there.contentStore.status('ns', ref);
  t.ok(offset > 1_000_000n && offset < 4_000_000n, `${offset} bytes are there`);
  // What another process finds: the same directory and the same records.
  const contentStore = new ContentStore({ root: there.root, store: there.store });
  await contentStore.reconcile();
  const content = imageContent({ store: contentStore, namespace: 'ns', lease: 'lease' });
  const second = await pullThrough(() => undefined, {}, { ...there, contentStore, content });
  t.equal(second.err, undefined);
  t.ok(
    proxy.seen.some(({ headers }) => headers.range === `bytes=${offset}-`),
    'it asked for the rest only',
  );
  t.same(digestsIn(second.there), digestsIn(origin));
});

t.test('an ingest with wrong bytes is found out and replaced', { skip }, async (t) => {
  const { made, origin } = current();
  const there = await place(directory());
  const [layer] = made.layers;
  if (layer === undefined) return;
  const writer = await there.content.openWriter({
    ref: `layer-${layer.digest}`,
    total: BigInt(layer.size),
    expected: layer.digest,
  });
  await writer.write(Buffer.alloc(1000, 7));
  await writer.close();
  const { err } = await pullThrough(() => undefined, {}, there);
  t.equal(err, undefined);
  t.same(digestsIn(there), digestsIn(origin));
});

t.test('two pulls of one image at the same time fetch each blob once', { skip }, async (t) => {
  const { made, proxy } = current();
  proxy.decide(() => undefined);
  const there = await place(directory());
  const turns = new KeyedTurns();
  const pull = async (): Promise<unknown> =>
    pullImage({ resolver: registryClient(), content: there.content, turns, retry }, `${proxy.host}/box:1`);
  await Promise.all([pull(), pull(), pull()]);
  for (const layer of made.layers) {
    t.equal(proxy.seen.filter(({ method, url }) => method === 'GET' && url.endsWith(layer.digest)).length, 1);
  }
});

t.test('a pull waits for another client that is writing the same layer', { skip }, async (t) => {
  const { made, origin } = current();
  const there = await place(directory());
  const [layer] = made.layers;
  if (layer === undefined) return;
  const writer = await there.content.openWriter({
    ref: `layer-${layer.digest}`,
    total: BigInt(layer.size),
    expected: layer.digest,
  });
  setTimeout(() => void writer.close(), 250);
  const { err } = await pullThrough(() => undefined, {}, there);
  t.equal(err, undefined);
  t.same(digestsIn(there), digestsIn(origin));
});

t.test('mirrors: a dead one, one with wrong content, then the registry', { skip }, async (t) => {
  const { proxy, server, origin } = current();
  proxy.decide((request) => (isLayer(current(), request) ? { corruptAt: 9 } : undefined));
  const host = (at: string, mirror: boolean) => ({
    ...defaultHost(at, { plainHttp: true }),
    ...(mirror ? { capabilities: new Set(['pull', 'resolve'] as const) } : {}),
  });
  const hosts = { hostsFor: async () => [host('127.0.0.1:1', true), host(proxy.host, true), host(server.host, false)] };
  const there = await place(directory());
  await pullImage({ resolver: registryClient({ hosts }), content: there.content, retry }, 'registry.example/box:1');
  t.same(digestsIn(there), digestsIn(origin));
  t.ok(
    proxy.seen.every(({ url }) => new URL(url, 'http://x').searchParams.get('ns') === 'registry.example'),
    'the mirror is told the registry',
  );
  const err = await registryClient({
    hosts: { hostsFor: async () => [host('127.0.0.1:1', true), host(proxy.host, false)] },
  })
    .resolve('registry.example/nobox:1')
    .catch((thrown: unknown) => thrown);
  t.equal(codeOf(err), 'not found', 'the registry knows best');
  t.match(messageOf(err), /answered 404 .*\(before that 127\.0\.0\.1:1: .*ECONNREFUSED/);
});

t.test('a redirect to another host gets no credentials, and its challenge is not answered', { skip }, async (t) => {
  const { server, made, origin } = current();
  const elsewhere = await faultyProxy(server.url);
  const locked = await faultyProxy(server.url);
  t.teardown(async () => {
    await elsewhere.stop();
    await locked.stop();
  });
  const basic = { answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } };
  locked.decide((request) => {
    if (request.headers.authorization === undefined) return basic;
    return request.url.includes('/blobs/')
      ? { answer: { status: 307, headers: { location: `http://${elsewhere.host}${request.url}` } } }
      : undefined;
  });
  const credentials = fixedCredentials(locked.host, { kind: 'password', ...testUser });
  const there = await place(directory());
  const hosts = {
    hostsFor: async () => [{ ...defaultHost(locked.host, { plainHttp: true }), headers: { 'x-secret': ['s'] } }],
  };
  const components = { resolver: registryClient({ credentials, hosts }), content: there.content, retry };
  await pullImage(components, `${locked.host}/box:1`);
  t.same(digestsIn(there), digestsIn(origin));
  t.ok(elsewhere.seen.length >= 3, 'the blobs came from there');
  t.same(
    elsewhere.seen.filter(({ headers }) => 'authorization' in headers || 'x-secret' in headers),
    [],
  );
  t.ok(locked.seen.some(({ headers }) => headers['x-secret'] === 's'));

  elsewhere.decide(() => basic);
  const fresh = await place(directory());
  const err = await pullImage({ ...components, content: fresh.content }, `${locked.host}/box:1`).catch(
    (thrown: unknown) => thrown,
  );
  t.equal(codeOf(err), 'unauthenticated');
  t.same(
    elsewhere.seen.filter(({ headers }) => 'authorization' in headers),
    [],
  );
  t.notOk(fresh.contentStore.has('ns', made.descriptor.digest));
});

t.test('a token server in the open is not given a password by a registry that is not', { skip }, async (t) => {
  const { server } = current();
  const tls = selfSignedCertificate(directory());
  const thief = await faultyProxy(server.url);
  const front = await faultyProxy(server.url, { tls });
  t.teardown(async () => {
    await thief.stop();
    await front.stop();
  });
  front.decide(() => ({
    answer: { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${thief.host}/token",service="x"` } },
  }));
  const credentials = fixedCredentials(front.host, { kind: 'password', ...testUser });
  const hosts = { hostsFor: async () => [defaultHost(front.host)] };
  const err = await registryClient({ credentials, hosts })
    .resolve(`${front.host}/box:1`)
    .catch((thrown: unknown) => thrown);
  t.equal(codeOf(err), 'failed precondition');
  t.match(messageOf(err), /sends us from https to http:.*refused/);
  t.same(thief.seen, []);
});
