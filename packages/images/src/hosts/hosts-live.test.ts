/** hosts.toml with real servers: client certificates, headers, certificates that nobody checks, mirrors with roots of their own. */
import t from 'tap';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf, messageOf } from '@gantry/errors';
import { Transport } from '../http/transport.ts';
import { pullImage } from '../pull/pull-image.ts';
import { pushImage } from '../push/push-image.ts';
import { Registry } from '../registry/registry.ts';
import {
  digestsIn,
  faultyProxy,
  place,
  putImage,
  registryMissing,
  selfSignedCertificate,
  startRegistry,
} from '../testing/index.ts';
import { hostDirectories } from './host-directory.ts';

const skip = registryMissing ?? false;

t.setTimeout(90_000);
t.test('hosts.toml says how a registry is reached', { skip }, async (t) => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-hosts-live-'));
  const server = await startRegistry(path.join(scratch, 'r'));
  const tls = selfSignedCertificate(path.join(scratch, 'tls'));
  const client = selfSignedCertificate(path.join(scratch, 'tls'), 'client');
  const guarded = await faultyProxy(server.url, { tls, clients: client.certificate });
  const mirror = await faultyProxy(server.url);
  const transport = new Transport({ environment: {} });
  const directory = path.join(scratch, 'certs.d');
  const own = path.join(directory, guarded.host);
  mkdirSync(own, { recursive: true });
  copyFileSync(tls.certificate, path.join(own, 'registry.pem'));
  copyFileSync(client.certificate, path.join(own, 'client.pem'));
  copyFileSync(client.key, path.join(own, 'client-key.pem'));
  const origin = await place(path.join(scratch, 'o'));
  const made = await putImage(origin, { layerBytes: [50_000, 20_000] });
  const name = `${guarded.host}/team/box:1`;
  const registry = (): Registry =>
    new Registry({
      send: transport.send,
      hosts: hostDirectories({ directories: [directory] }),
      retry: { attempts: 2, firstDelayMs: 5, maximumDelayMs: 10, maximumRetryAfterMs: 10 },
    });
  let places = 0;
  /** Pulls with this hosts.toml; undefined, or what went wrong. */
  const pull = async (text: string): Promise<unknown> => {
    writeFileSync(path.join(own, 'hosts.toml'), text);
    guarded.decide(() => undefined);
    mirror.decide(() => undefined);
    const there = await place(path.join(scratch, String(++places)));
    try {
      await pullImage({ resolver: registry(), content: there.content }, name);
      t.same(digestsIn(there), digestsIn(origin));
      return undefined;
    } catch (err) {
      return err;
    }
  };
  const methods = (seen: typeof mirror.seen): string[] =>
    seen.map(({ method, url }) => `${method} ${url.replace(/sha256:\w+/, 'D').replace(/\?.*/, '')}`);
  const keys = 'client = [["client.pem", "client-key.pem"]]';
  const whole = `server = "https://${guarded.host}"\nca = "registry.pem"\n${keys}\n`;
  try {
    writeFileSync(path.join(own, 'hosts.toml'), whole);
    await pushImage({ resolver: registry(), content: origin.content }, name, made.descriptor);

    t.equal(await pull(`${whole}[header]\nx-team = ["a", "b"]\n`), undefined, 'a certificate shown, a header sent');
    t.ok(guarded.seen.length > 3 && guarded.seen.every(({ headers }) => headers['x-team'] === 'a, b'));

    t.equal(await pull(`skip_verify = true\n${keys}\n`), undefined, 'nobody is asked who the registry is');
    const untrusted = await pull(keys);
    t.equal(codeOf(untrusted), 'failed precondition');
    t.match(messageOf(untrusted), /certificate of .* is not trusted.*name its CA in the host's hosts\.toml/);
    const lost = await pull('ca = "nowhere.pem"\n');
    t.match(messageOf(lost), /nowhere\.pem/);

    const strict = await startRegistry(path.join(scratch, 's'), { tls, clients: client.certificate });
    const anonymous = path.join(directory, strict.host);
    mkdirSync(anonymous);
    copyFileSync(tls.certificate, path.join(anonymous, 'ca.crt'));
    const refused = await registry()
      .resolve(`${strict.host}/team/box:1`)
      .catch((err: unknown) => err);
    await strict.stop();
    t.match(messageOf(refused), /certificate.*in (its|the host's) hosts\.toml \(client = /);

    const withMirror = `${whole}[host."http://${mirror.host}/v2"]\ncapabilities = ["pull"]\noverride_path = true\n`;
    t.equal(await pull(withMirror), undefined, 'a mirror that only fetches, below a root of its own');
    t.same(methods(guarded.seen), ['HEAD /v2/team/box/manifests/1'], 'the name is resolved by the registry itself');
    t.same(methods(mirror.seen).sort(), [
      'GET /v2/team/box/blobs/D',
      'GET /v2/team/box/blobs/D',
      'GET /v2/team/box/blobs/D',
      'GET /v2/team/box/manifests/D',
    ]);
    t.ok(
      mirror.seen.every(({ url }) => url.endsWith(`?ns=${encodeURIComponent(guarded.host)}`)),
      'it is told for whom',
    );
    t.equal(await pull(`${whole}[host."http://${mirror.host}"]\n[host."http://127.0.0.1:9"]\n`), undefined);
    t.same(guarded.seen, [], 'a mirror that does everything');

    writeFileSync(path.join(own, 'hosts.toml'), withMirror);
    mirror.decide(() => undefined);
    await pushImage({ resolver: registry(), content: origin.content }, `${guarded.host}/team/box:2`, made.descriptor);
    t.same(mirror.seen, [], 'nothing is pushed to a mirror that may only fetch');
  } finally {
    await transport.close();
    await guarded.stop();
    await mirror.stop();
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
});
