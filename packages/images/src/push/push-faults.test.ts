/** A registry behind a connection that cuts uploads and answers with errors: every push ends with the image there or a clear error. */
import t from 'tap';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { defaultHost } from '../hosts/registry-host.ts';
import { Transport } from '../http/transport.ts';
import { pullImage } from '../pull/pull-image.ts';
import { Registry } from '../registry/registry.ts';
import { digestsIn, faultyProxy, place, putImage, registryMissing, startRegistry, times } from '../testing/index.ts';
import type { Decide, SeenRequest } from '../testing/index.ts';
import { pushImage } from './push-image.ts';

const skip = registryMissing ?? false;

t.setTimeout(60_000);
t.test('pushes survive cut uploads and internal errors, and end clearly otherwise', { skip }, async (t) => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-push-faults-'));
  const server = await startRegistry(path.join(scratch, 'r'));
  const proxy = await faultyProxy(server.url);
  const transport = new Transport({ environment: {}, timeouts: { connectMs: 2000, answerMs: 1500, idleMs: 1500 } });
  t.teardown(async () => {
    await transport.close();
    await proxy.stop();
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  });
  const retry = { attempts: 3, firstDelayMs: 5, maximumDelayMs: 20, maximumRetryAfterMs: 1500 };
  const plain = { hostsFor: async (domain: string) => [defaultHost(domain, { plainHttp: true })] };
  const registryClient = (): Registry => new Registry({ send: transport.send, retry, hosts: plain });
  let places = 0;
  const directory = (): string => path.join(scratch, String(++places));
  const isUpload = ({ method, url }: SeenRequest): boolean =>
    (method === 'PUT' || method === 'PATCH') && url.includes('/uploads/');
  const isLarge = (request: SeenRequest): boolean =>
    isUpload(request) && Number(request.headers['content-length']) > 1000;
  // New content each time: what is there already, or can be mounted, would not be sent.
  const push = async (name: string, chunkBytes?: number) => {
    const origin = await place(directory());
    const made = await putImage(origin, { layerBytes: [3_000_000] });
    const options = chunkBytes === undefined ? {} : { chunkBytes };
    const components = { resolver: registryClient(), content: origin.content };
    const done: unknown = await pushImage(components, `${proxy.host}/${name}:1`, made.descriptor, options).catch(
      (thrown: unknown) => thrown,
    );
    return { origin, made, done };
  };
  const faults: readonly (readonly [string, Decide, number | undefined])[] = [
    ['cut', times(1, isLarge, { cutRequestAfter: 500 }), undefined],
    [
      'cut-pieces',
      times(2, (request) => isUpload(request) && request.method === 'PATCH', { cutRequestAfter: 500 }),
      1_000_000,
    ],
    ['errors', times(2, isUpload, { answer: { status: 503 } }), undefined],
    ['lost', times(1, isUpload, { answer: { status: 404 } }), undefined],
  ];
  for (const [name, rule, chunkBytes] of faults) {
    proxy.decide(rule);
    const { done, made, origin } = await push(name, chunkBytes);
    t.ok(proxy.seen.filter(isUpload).length > 2, `${name}: something was sent again`);
    t.same(done, made.descriptor, `${name}: ${done instanceof Error ? done.message : ''}`);
    const there = await place(directory());
    await pullImage({ resolver: registryClient(), content: there.content }, `${server.host}/${name}:1`);
    t.same(digestsIn(there), digestsIn(origin));
  }
  proxy.decide((request) =>
    request.method === 'PUT' && request.url.includes('/manifests/')
      ? { headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } }
      : undefined,
  );
  const { done: lied } = await push('lied');
  t.equal(codeOf(lied), 'data loss');
  proxy.decide((request) => (isUpload(request) ? { answer: { status: 403 } } : undefined));
  const { done: denied } = await push('denied');
  t.equal(codeOf(denied), 'permission denied');
  t.equal(
    codeOf(
      await registryClient()
        .resolve(`${server.host}/denied:1`)
        .catch((thrown: unknown) => thrown),
    ),
    'not found',
    'no tag on something incomplete',
  );
});
