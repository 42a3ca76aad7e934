import t from 'tap';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer as createTlsServer } from 'node:https';
import { codeOf, messageOf, unavailable } from '@gantry/errors';
import { Limiter } from '../limiter.ts';
import { KeyedTurns } from '../keyed-turns.ts';
import { registryMissing, selfSignedCertificate } from '../testing/registry-server.ts';
import type { HttpRequest, HttpResponse } from './http.ts';
import { isExempt, proxyFor } from './proxy-environment.ts';
import { sendFollowing } from './redirect.ts';
import { backoffMs, defaultRetryPolicy, orCancelled, pause, retryAfterMs } from './retry.ts';
import { sendRetrying } from './send-retrying.ts';
import { Transport } from './transport.ts';

const get = (url: string): HttpRequest => ({ method: 'GET', url: new URL(url) });

/** A signal that comes soon; unlike AbortSignal.timeout it keeps the process running. */
function soon(): AbortSignal {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 20);
  return stop.signal;
}

async function listen(t: { teardown(fn: () => void): void }, server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.teardown(() => void server.close());
  // oxlint-disable-next-line typescript/consistent-type-assertions
  return (server.address() as AddressInfo).port;
}

t.test('proxies are found in the environment', (t) => {
  const env = {
    HTTPS_PROXY: 'http://u:p@proxy.example:3128',
    http_proxy: 'plain.example:8080',
    NO_PROXY: 'a.example,.b.example,10.0.0.0/8,c.example:5000,[fd00::1]:443,fd00::/8',
  };
  const of = (url: string): string | undefined => proxyFor(new URL(url), env)?.href;
  t.equal(of('https://r.example'), 'http://u:p@proxy.example:3128/');
  t.equal(of('http://r.example'), 'http://plain.example:8080/');
  for (const url of [
    'https://localhost:5000',
    'https://127.0.0.1',
    'https://[::1]',
    'https://a.example',
    'https://x.a.example',
    'https://x.b.example',
    'https://10.1.2.3',
    'https://c.example:5000',
    'https://[fd00::1]',
    'https://[fd12::1]:5000',
  ])
    t.equal(of(url), undefined, url);
  for (const url of [
    'https://aa.example',
    'https://b.example',
    'https://11.1.2.3',
    'https://c.example',
    'https://[fe80::1]',
  ])
    t.ok(of(url), url);
  t.ok(isExempt(new URL('https://x'), '*'));
  t.equal(proxyFor(new URL('https://r.example'), {}), undefined);
  t.throws(() => proxyFor(new URL('https://r.example'), { HTTPS_PROXY: 'socks5://secret@x' }), {
    message: 'environment variable HTTPS_PROXY is not the URL of an HTTP proxy',
  });
  t.end();
});

t.test('pauses double, are bounded, and vary; Retry-After is seconds or a date', async (t) => {
  const policy = { ...defaultRetryPolicy, firstDelayMs: 100, maximumDelayMs: 1000 };
  for (let attempt = 1; attempt < 40; attempt++) {
    const whole = Math.min(1000, 100 * 2 ** (attempt - 1));
    const ms = backoffMs(policy, attempt);
    t.ok(ms >= whole / 2 && ms <= whole, `attempt ${attempt}: ${ms}`);
  }
  t.equal(retryAfterMs('3', 0), 3000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:01 GMT', 4000), 0);
  t.equal(retryAfterMs('soon', 0), undefined);
  t.equal(retryAfterMs(undefined, 0), undefined);
  const stop = soon();
  await t.rejects(pause(60_000, stop), { code: 'cancelled' });
  await t.rejects(orCancelled(new Promise(() => undefined), soon(), 'x'), { code: 'cancelled' });
});

/** Answers by a table; remembers what it was sent. */
function script(answers: readonly (Partial<{ status: number; location: string; retryAfter: string }> | Error)[]) {
  const sent: HttpRequest[] = [];
  const send = async (request: HttpRequest): Promise<HttpResponse> => {
    const answer = answers[Math.min(sent.length, answers.length - 1)] ?? {};
    sent.push(request);
    if (answer instanceof Error) throw answer;
    const { status = 200, location, retryAfter } = answer;
    const all: Record<string, string | undefined> = { location, 'retry-after': retryAfter };
    const header = (name: string): string | undefined => all[name];
    const headers = (name: string): string[] => (all[name] === undefined ? [] : [all[name]]);
    return {
      status,
      url: request.url,
      header,
      headers,
      body: (async function* () {})(),
      bytes: async () => Buffer.alloc(0),
      discard: async () => undefined,
    };
  };
  return { sent, send };
}

t.test('what passes is tried again, within bounds; what does not is not', async (t) => {
  const policy = { attempts: 3, firstDelayMs: 1, maximumDelayMs: 2, maximumRetryAfterMs: 50 };
  const tries = async (...answers: Parameters<typeof script>[0]): Promise<readonly [unknown, number]> => {
    const { sent, send } = script(answers);
    const outcome = await sendRetrying(send, get('http://a/'), policy).then(({ status }) => status, codeOf);
    return [outcome, sent.length];
  };
  t.same(await tries({ status: 500 }, { status: 503 }, {}), [200, 3]);
  t.same(await tries({ status: 500 }), [500, 3]);
  t.same(await tries({ status: 404 }), [404, 1]);
  t.same(await tries({ status: 429, retryAfter: '0' }, {}), [200, 2]);
  t.same(await tries({ status: 429, retryAfter: '9' }, {}), [429, 1], 'too long a pause is not made');
  t.same(await tries(unavailable('x'), {}), [200, 2]);
  t.same(await tries(unavailable('x')), ['unavailable', 3]);
  t.same(await tries(unavailable('x', { permanent: true })), ['unavailable', 1]);
  t.same(await tries(new Error('bug')), ['unknown', 1]);
});

t.test('a redirect takes nothing along that identifies us, and never leads into the open', async (t) => {
  const secret = { authorization: 'Bearer x', 'x-own': 'y', cookie: 'z', accept: 'a', range: 'bytes=1-' };
  const tls = { ca: ['ca'], client: [{ certificate: 'c', key: 'k' }] };
  const follow = async (...locations: readonly string[]) => {
    const { sent, send } = script([...locations.map((location) => ({ status: 307, location })), {}]);
    await sendFollowing(send, { ...get('https://a.example/x'), headers: secret, tls });
    return sent;
  };
  const same = await follow('/y');
  t.same([same[1]?.url.href, same[1]?.headers, same[1]?.tls], ['https://a.example/y', secret, tls]);
  for (const location of ['https://b.example/', 'https://a.example:8443/', '//b.example/']) {
    const sent = await follow(location, 'https://a.example/back');
    for (const request of sent.slice(1)) {
      t.same(request.headers, { accept: 'a', range: 'bytes=1-' }, `${location} ${request.url.href}`);
      t.same(request.tls, { ca: ['ca'] });
    }
  }
  await t.rejects(follow('http://a.example/'), { code: 'failed precondition', message: /from https to http/ });
  const { sent, send } = script([{ status: 307, location: 'https://b.example/' }]);
  const put = { ...get('https://a.example/'), method: 'PUT' as const };
  t.equal((await sendFollowing(send, put)).status, 307, 'a body is not sent elsewhere');
  t.equal(sent.length, 1);
});

t.test('the transport: bodies both ways, limits, deadlines, cancelling, a closed door', async (t) => {
  const seen: IncomingMessage['headers'][] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers);
    if (request.url === '/echo') request.pipe(response);
    else if (request.url === '/silent') return;
    else if (request.url === '/stalls') response.write('x');
    else response.end('hello');
  });
  const port = await listen(t, server);
  t.teardown(() => server.closeAllConnections());
  const base = `http://127.0.0.1:${port}`;
  const transport = new Transport({ environment: {}, timeouts: { answerMs: 200, idleMs: 200 } });
  const body = {
    sizeBytes: 6,
    async *open() {
      yield Buffer.from('abc');
      yield Buffer.from('def');
    },
  };
  const echo = await transport.send({ method: 'PUT', url: new URL(`${base}/echo`), body });
  t.equal((await echo.bytes(100, 'x')).toString(), 'abcdef');
  t.equal(seen[0]?.['content-length'], '6');
  t.equal(seen[0]?.['accept-encoding'], 'identity');
  const hello = await transport.send(get(base));
  await t.rejects(hello.bytes(3, 'the answer'), {
    code: 'resource exhausted',
    message: 'the answer is larger than 3 bytes',
  });
  await t.rejects(transport.send(get(`${base}/silent`)), { code: 'unavailable', message: /no answer in time/ });
  const stalled = await transport.send(get(`${base}/stalls`));
  await t.rejects(stalled.bytes(10, 'x'), { code: 'unavailable', message: /no answer in time/ });
  await t.rejects(transport.send({ ...get(`${base}/silent`), signal: soon() }), { code: 'cancelled' });
  await t.rejects(transport.send(get('http://127.0.0.1:1/')), { code: 'unavailable', message: /ECONNREFUSED/ });
  await transport.close();
  await t.rejects(transport.send(get(base)), { code: 'unavailable' });
});

t.test(
  'a proxy: a tunnel for https, whole addresses for http, its own password',
  { skip: registryMissing ?? false },
  async (t) => {
    const dir = mkdtempSync(path.join(tmpdir(), 'gantry-proxy-'));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const certificate = selfSignedCertificate(dir);
    const ca = [readFileSync(certificate.certificate, 'utf8')];
    const tls = { cert: readFileSync(certificate.certificate), key: readFileSync(certificate.key) };
    const target = createTlsServer(tls, (_request, response) => response.end('secret'));
    const targetPort = await listen(t, target);
    const asked: string[] = [];
    const proxy = createServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers['proxy-authorization']}`);
      response.end('plain');
    });
    proxy.on('connect', (request, socket) => {
      asked.push(`CONNECT ${request.url} ${request.headers['proxy-authorization']}`);
      // Names of this machine never go through a proxy, so the test's name is another and is answered from here.
      const through = connect(targetPort, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        through.pipe(socket).pipe(through);
      });
      for (const end of [through, socket]) end.on('error', () => undefined);
    });
    const proxyPort = await listen(t, proxy);
    const address = `http://me:it%20is@127.0.0.1:${proxyPort}`;
    const transport = new Transport({ environment: { HTTPS_PROXY: address, HTTP_PROXY: address } });
    t.teardown(async () => {
      await transport.close();
      proxy.closeAllConnections();
      target.closeAllConnections();
    });
    const basic = `Basic ${Buffer.from('me:it is').toString('base64')}`;
    const named = await transport.send({ ...get('https://r.example:5000/v2/'), tls: { ca, skipVerify: true } });
    t.equal((await named.bytes(100, 'x')).toString(), 'secret');
    const plain = await transport.send(get('http://r.example/v2/?a=b'));
    t.equal((await plain.bytes(100, 'x')).toString(), 'plain');
    t.same(asked, [`CONNECT r.example:5000 ${basic}`, `GET http://r.example/v2/?a=b ${basic}`]);
    const untrusted = await transport
      .send({ ...get('https://r.example:5000/v2/'), tls: { ca } })
      .catch((err: unknown) => err);
    t.match(
      messageOf(untrusted),
      /certificate of r\.example:5000 is not trusted/,
      'the name in the certificate is checked',
    );
  },
);

t.test('a server that is not TLS is told apart', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  const port = await listen(t, server);
  const transport = new Transport({ environment: {} });
  t.teardown(async () => transport.close());
  await t.rejects(transport.send(get(`https://127.0.0.1:${port}/`)), {
    code: 'failed precondition',
    message: /does not speak TLS/,
    details: { plainHttp: true },
  });
});

t.test('a limiter lets so many in, in their order, and lets go of those who leave', async (t) => {
  const limiter = new Limiter(2);
  const log: string[] = [];
  const ends: (() => void)[] = [];
  const job = async (name: string, signal?: AbortSignal): Promise<void> =>
    limiter.run(async () => {
      log.push(name);
      await new Promise<void>((resolve) => {
        ends.push(resolve);
      });
    }, signal);
  const stop = new AbortController();
  const jobs = [job('a'), job('b'), job('c', stop.signal), job('d')];
  await new Promise((resolve) => setImmediate(resolve));
  t.same(log, ['a', 'b']);
  stop.abort();
  await t.rejects(jobs[2] ?? Promise.resolve(), { code: 'cancelled' });
  ends[0]?.();
  await jobs[0];
  await new Promise((resolve) => setImmediate(resolve));
  t.same(log, ['a', 'b', 'd']);
  for (const end of ends) end();
  await Promise.all([jobs[1], jobs[3]]);
  await t.rejects(
    limiter.run(async () => Promise.reject(new Error('x'))),
    { message: 'x' },
  );
  const turns = new KeyedTurns();
  let most = 0;
  let running = 0;
  const turn = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
  };
  await Promise.all([turns.run('k', turn), turns.run('k', turn), turns.run('k', turn)]);
  t.equal(most, 1);
  await Promise.all([turns.run('k', turn), turns.run('l', turn)]);
  t.equal(most, 2, 'another key is another turn');
});
