/** Layers that no registry holds: fetched from the addresses that the image names, when that is allowed, and never with credentials. */
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fixedCredentials } from '@gantry/credentials';
import { digestOf, mediaTypes } from '@gantry/oci';
import { defaultHost } from '../hosts/registry-host.ts';
import { Transport } from '../http/transport.ts';
import { pullImage } from '../pull/pull-image.ts';
import { pushImage } from '../push/push-image.ts';
import { digestsIn, place, put, registryMissing, startRegistry, testUser } from '../testing/index.ts';
import { Registry } from './registry.ts';

const skip = registryMissing ?? false;

t.setTimeout(60_000);
t.test('a layer that is not in the registry comes from where the image says', { skip }, async (t) => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-foreign-'));
  const layer = randomBytes(200_000);
  const seen: { readonly url: string; readonly headers: IncomingHttpHeaders }[] = [];
  const elsewhere = createServer(({ url = '', headers }, response) => {
    seen.push({ url, headers });
    if (url === '/moved') response.writeHead(302, { location: '/layer' }).end();
    else if (url === '/layer') response.end(layer);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => {
    elsewhere.listen(0, '127.0.0.1', resolve);
  });
  const address = elsewhere.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const server = await startRegistry(path.join(scratch, 'r'), { auth: 'htpasswd' });
  const transport = new Transport({ environment: {} });
  const name = `${server.host}/foreign:1`;
  const registry = (allowForeignLayers: boolean): Registry =>
    new Registry({
      send: transport.send,
      hosts: { hostsFor: async (domain: string) => [defaultHost(domain, { plainHttp: true })] },
      credentials: fixedCredentials(server.host, { kind: 'password', ...testUser }),
      allowForeignLayers,
    });
  try {
    const origin = await place(path.join(scratch, 'o'));
    const urls = ['ftp://127.0.0.1/layer', `http://127.0.0.1:${port}/gone`, `http://127.0.0.1:${port}/moved`];
    const mediaType = mediaTypes.dockerLayerForeign;
    const foreign = { mediaType, digest: digestOf(layer), size: layer.length, urls };
    const config = await put(
      origin,
      Buffer.from(
        JSON.stringify({
          os: 'linux',
          architecture: 'amd64',
          config: {},
          rootfs: { type: 'layers', diff_ids: [foreign.digest] },
        }),
      ),
      mediaTypes.dockerConfig,
    );
    const document = { schemaVersion: 2, mediaType: mediaTypes.dockerManifest, config, layers: [foreign] };
    const manifest = await put(origin, Buffer.from(JSON.stringify(document)), mediaTypes.dockerManifest);
    const news: string[] = [];
    await pushImage({ resolver: registry(false), content: origin.content }, name, manifest, {
      onProgress: ({ descriptor, state }) => news.push(`${descriptor.digest} ${state}`),
    });
    t.ok(news.includes(`${foreign.digest} skipped`), 'it is not passed on');

    const there = await place(path.join(scratch, 'a'));
    const platforms = [{ os: 'linux', architecture: 'amd64' }];
    await t.rejects(pullImage({ resolver: registry(false), content: there.content }, name, { platforms }), {
      code: 'failed precondition',
      message: /switched off \(registry\.foreign_layers\)/,
    });
    t.same(seen, [], 'nobody was asked');
    await pullImage({ resolver: registry(true), content: there.content }, name, { platforms });
    t.same(digestsIn(there), [config.digest, manifest.digest, foreign.digest].toSorted());
    t.same(
      seen.map(({ url }) => url),
      ['/gone', '/moved', '/layer'],
    );
    t.same(
      seen.filter(({ headers }) => headers.authorization !== undefined),
      [],
      "the registry's password stays with the registry",
    );
  } finally {
    await server.stop();
    await transport.close();
    elsewhere.closeAllConnections();
    elsewhere.close();
    rmSync(scratch, { recursive: true, force: true });
  }
});
