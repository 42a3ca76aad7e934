import t from 'tap';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf, messageOf } from '@gantry/errors';
import { hostDirectories } from './host-directory.ts';
import { parseHostsToml } from './hosts-toml.ts';
import { defaultHost } from './registry-host.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-hosts-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
const refusal = (text: string): string => {
  try {
    parseHostsToml(text, 'f', 'https://r.example');
    return '';
  } catch (err) {
    return `${codeOf(err)} ${messageOf(err)}`;
  }
};

t.test('hosts.toml: hosts in their order, the server last', (t) => {
  const text = `
server = "https://r.example"
capabilities = ["pull", "push"]
[host."https://z.example/mirror/"]
  capabilities = ["pull", "resolve"]
  ca = "z.pem"
  client = [["c.cert", "c.key"], ["d.pem", ""]]
  skip_verify = true
  dial_timeout = "1m30s"
  [host."https://z.example/mirror/".header]
    X-One = "1"
    x-two = ["2", "3"]
[host."a.example:5000/api"]
  override_path = true
[host."localhost:5000"]
`;
  const hosts = parseHostsToml(text, 'f', 'https://unused.example');
  t.same(
    hosts.map(({ api }) => api.href),
    ['https://z.example/mirror/v2', 'https://a.example:5000/api', 'http://localhost:5000/v2', 'https://r.example/v2'],
  );
  const [first, second, , server] = hosts;
  t.same([...(first?.capabilities ?? [])], ['pull', 'resolve']);
  t.same(first?.client, [
    { certificate: 'c.cert', key: 'c.key' },
    { certificate: 'd.pem', key: 'd.pem' },
  ]);
  t.same([first?.ca, first?.skipVerify, first?.dialTimeoutMs], [['z.pem'], true, 90_000]);
  t.same(first?.headers, { 'x-one': ['1'], 'x-two': ['2', '3'] });
  t.equal(second?.capabilities.size, 4, 'absent: all');
  t.same([...(server?.capabilities ?? [])], ['pull', 'push']);
  t.same(
    parseHostsToml('', 'f', 'https://r.example').map(({ api }) => api.href),
    ['https://r.example/v2'],
  );
  t.end();
});

t.test('hosts.toml: what is wrong is named', (t) => {
  t.match(refusal('server = '), /^invalid argument f: /);
  t.match(refusal('server = 1'), /f: server: must be a URL/);
  t.match(refusal('server = "ftp://x"'), /f: server: must be an http or https URL/);
  t.match(refusal('server = "https://u:p@x"'), /must not hold credentials/);
  t.match(refusal('capabilities = ["fly"]'), /f: capabilities: "fly" is none of pull, resolve, push, referrers/);
  t.match(refusal('[host."a.example"]\nskip_verify = "yes"'), /host\."a\.example"\.skip_verify: must be true or false/);
  t.match(refusal('dial_timeout = "5"'), /dial_timeout: must be a duration/);
  t.match(refusal('client = [["a", "b", "c"]]'), /client: must be files or pairs/);
  t.match(refusal('[header]\n"a b" = "x"'), /is not a header/);
  t.match(refusal('[header]\nhost = "x"'), /is not a header/);
  t.match(refusal('[header]\nx = "a\\r\\nb"'), /must be one line/);
  t.match(refusal('host = "x"'), /host: must be a table/);
  t.end();
});

t.test('a host without configuration: docker.io, this machine, everybody else', (t) => {
  const of = (domain: string, plainHttp = false): unknown => {
    const { api, tls, plainHttpFallback } = defaultHost(domain, { plainHttp });
    return [api.href, tls.skipVerify ?? false, plainHttpFallback];
  };
  t.same(of('docker.io'), ['https://registry-1.docker.io/v2', false, false]);
  t.same(of('r.example:5000'), ['https://r.example:5000/v2', false, false]);
  t.same(of('localhost:5000'), ['https://localhost:5000/v2', true, true]);
  t.same(of('127.0.0.1:5000'), ['https://127.0.0.1:5000/v2', true, true]);
  t.same(of('[::1]:5000'), ['https://[::1]:5000/v2', true, true]);
  t.same(of('localhost'), ['https://localhost/v2', false, false]);
  t.same(of('localhost:443'), ['https://localhost/v2', false, false]);
  t.same(of('localhost:80'), ['http://localhost/v2', false, false]);
  t.same(of('r.example', true), ['http://r.example/v2', false, false]);
  t.end();
});

t.test('directories: the host with its port, the host, the default; certificates alone', async (t) => {
  const at = (name: string, file: string, text: string): void => {
    mkdirSync(path.join(scratch, name), { recursive: true });
    writeFileSync(path.join(scratch, name, file), text);
  };
  at('a.example_5000_', 'hosts.toml', 'server = "https://one.example"');
  at('a.example:5000', 'hosts.toml', 'server = "https://two.example"');
  at('b.example', 'x.crt', 'CA');
  at('b.example', 'x.cert', 'CERT');
  at('b.example', 'x.key', 'KEY');
  at('c.example', 'y.cert', 'CERT');
  at('d.example', 'hosts.toml', 'ca = "gone.pem"');
  at('_default', 'hosts.toml', '[host."https://m.example"]\nca = "../b.example/x.crt"\n');
  const source = hostDirectories({ directories: ['/nonexistent', scratch] });
  const of = async (domain: string): Promise<unknown> => (await source.hostsFor(domain)).map(({ api }) => api.href);
  t.same(await of('a.example:5000'), ['https://one.example/v2']);
  t.same(await of('docker.io'), ['https://m.example/v2', 'https://registry-1.docker.io/v2']);
  const [mirror] = await source.hostsFor('e.example');
  t.same(mirror?.tls.ca, ['CA']);
  const [certificates] = await source.hostsFor('b.example');
  t.same(certificates?.tls, { ca: ['CA'], client: [{ certificate: 'CERT', key: 'KEY' }] });
  await t.rejects(source.hostsFor('c.example'), {
    code: 'failed precondition',
    message: /there is no y\.key beside it/,
  });
  await t.rejects(source.hostsFor('d.example'), { code: 'failed precondition', message: /gone\.pem/ });
  t.same(await hostDirectories({ directories: [] }).hostsFor('e.example'), [defaultHost('e.example')]);
});
