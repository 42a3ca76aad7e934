/**
 * Referrers of a registry with the API. Debian has none, so a proxy in front of its registry answers the API's calls out of what
 * has been pushed, in pages, as the specification says.
 */
import t from 'tap';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { mediaTypes } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { defaultHost } from '../hosts/registry-host.ts';
import { Transport } from '../http/transport.ts';
import { pushImage } from '../push/push-image.ts';
import { faultyProxy, place, put, putImage, registryMissing, startRegistry } from '../testing/index.ts';
import type { Fault, SeenRequest } from '../testing/index.ts';
import { Registry } from './registry.ts';
import { referrersTag } from './referrers.ts';

const skip = registryMissing ?? false;

t.setTimeout(60_000);
t.test('referrers by the API: pages, a filter, a subject that the registry enters itself', { skip }, async (t) => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-referrers-'));
  const server = await startRegistry(path.join(scratch, 'r'));
  const proxy = await faultyProxy(server.url);
  const transport = new Transport({ environment: {} });
  const resolver = new Registry({
    send: transport.send,
    retry: { attempts: 2, firstDelayMs: 5, maximumDelayMs: 10, maximumRetryAfterMs: 10 },
    hosts: { hostsFor: async (domain: string) => [defaultHost(domain, { plainHttp: true })] },
  });
  const repository = `${proxy.host}/signed`;
  const origin = await place(path.join(scratch, 'o'));
  const made = await putImage(origin);
  const listed: Descriptor[] = [];
  const page = (manifests: readonly Descriptor[], next?: string): Fault => ({
    answer: {
      status: 200,
      headers: { 'content-type': mediaTypes.index, ...(next === undefined ? {} : { link: `<${next}>; rel="next"` }) },
      body: JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }),
    },
  });
  /** One referrer a page. */
  const api = ({ method, url }: SeenRequest): Fault | undefined => {
    if (method === 'PUT' && url.includes('/manifests/')) return { headers: { 'oci-subject': made.descriptor.digest } };
    const { pathname, searchParams } = new URL(url, 'http://x');
    if (pathname !== `/v2/signed/referrers/${made.descriptor.digest}`) return undefined;
    const at = Number(searchParams.get('at') ?? 0);
    return page(listed.slice(at, at + 1), at + 1 < listed.length ? `${pathname}?at=${at + 1}` : undefined);
  };
  proxy.decide(api);
  try {
    await pushImage({ resolver, content: origin.content }, `${repository}:1`, made.descriptor);
    t.same(await resolver.referrers(`${repository}:1`, made.descriptor.digest), []);
    const config = await put(origin, Buffer.from('{}'), mediaTypes.empty);
    for (const artifactType of ['application/x.signature', 'application/x.sbom', 'application/x.signature']) {
      const document = {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType,
        config,
        layers: [config],
        subject: made.descriptor,
        annotations: { number: String(listed.length) },
      };
      const artifact = await put(origin, Buffer.from(JSON.stringify(document)), mediaTypes.manifest);
      await pushImage({ resolver, content: origin.content }, `${repository}@${artifact.digest}`, artifact);
      listed.push({ ...artifact, artifactType });
    }
    const tagged = await resolver
      .resolve(`${repository}:${referrersTag(made.descriptor.digest)}`)
      .catch((err: unknown) => codeOf(err));
    t.equal(tagged, 'not found', 'who says that he has entered the subject is not given the tag');

    proxy.decide(api);
    const all = await resolver.referrers(`${repository}:1`, made.descriptor.digest);
    t.same(
      all.map(({ digest }) => digest),
      listed.map(({ digest }) => digest),
      'all pages',
    );
    const signatures = await resolver.referrers(`${repository}:1`, made.descriptor.digest, {
      artifactType: 'application/x.signature',
    });
    t.same(
      signatures.map(({ digest }) => digest),
      [listed[0]?.digest, listed[2]?.digest],
      'what the registry does not filter is filtered here',
    );
    t.ok(proxy.seen.some(({ url }) => url.endsWith('?artifactType=application%2Fx.signature')));

    proxy.decide(({ url }) => (url.includes('/referrers/') ? page(listed, url) : undefined));
    t.equal(
      await resolver.referrers(`${repository}:1`, made.descriptor.digest).catch((err: unknown) => codeOf(err)),
      'invalid argument',
      'pages without end',
    );
    proxy.decide(({ url }) => (url.includes('/referrers/') ? page(listed, 'http://127.0.0.1:9/elsewhere') : undefined));
    t.equal((await resolver.referrers(`${repository}:1`, made.descriptor.digest)).length, 3, 'nobody is followed away');
  } finally {
    await transport.close();
    await proxy.stop();
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
});
