import t from 'tap';
import { statSync } from 'node:fs';
import { taskV3 } from '@gantry/api/shim';
import { GantryError, notFound } from '@gantry/errors';
import { TtrpcClient, TtrpcServer } from './index.ts';
import { EchoService } from './testing/echo-service.ts';
import { startPair } from './testing/pair.ts';

/** A promise and what settles it. */
function later<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

t.test('a call is answered', async (t) => {
  const client = await (await startPair(t)).client();
  const answer = await client.call(EchoService, 'echo', { type: 'bind', options: ['ro', 'ü'] });
  t.strictSame(answer, { type: 'bind', source: '', target: '', options: ['ro', 'ü'] });
});

t.test('metadata and the deadline reach the handler', async (t) => {
  const seen = later<{ namespace: string | undefined; remainingMs: number }>();
  const pair = await startPair(t, {
    echo: (request, { metadata, deadlineMs = 0 }) => {
      seen.resolve({ namespace: metadata.get('containerd-namespace-ttrpc'), remainingMs: deadlineMs - Date.now() });
      return request;
    },
  });
  const client = await pair.client();
  const metadata = new Map([['containerd-namespace-ttrpc', 'moby']]);
  await client.call(EchoService, 'echo', {}, { timeoutMs: 5000, metadata });
  const { namespace, remainingMs } = await seen.promise;
  t.equal(namespace, 'moby');
  t.ok(remainingMs > 3000 && remainingMs <= 5000, `${remainingMs} ms`);
});

t.test('errors keep their code and their sentence', async (t) => {
  const pair = await startPair(t, {
    echo: ({ type }) => {
      if (type === 'ours') throw notFound('task "web"');
      throw new RangeError('a fault of ours');
    },
  });
  const client = await pair.client();
  const ours = client.call(EchoService, 'echo', { type: 'ours' });
  await t.rejects(ours, { code: 'not found', message: 'task "web"' });
  t.same(pair.errors, [], 'what a handler means to say is nothing to log');
  await t.rejects(client.call(EchoService, 'echo', {}), { code: 'unknown', message: 'a fault of ours' });
  t.equal(pair.errors.length, 1, 'what it does not is');
});

t.test('an unknown service and an unknown method are not implemented', async (t) => {
  const client = await (await startPair(t)).client();
  const method = client.call(EchoService, 'missing', {});
  await t.rejects(method, { code: 'not implemented', message: 'method Missing' });
  const service = client.call(taskV3.TaskService, 'state', { id: 'x' });
  await t.rejects(service, { code: 'not implemented', message: 'service containerd.task.v3.Task' });
});

t.test('calls are handled at the same time and answered in any order', async (t) => {
  const gates = new Map<string, () => void>();
  const pair = await startPair(t, {
    echo: async (request) => {
      await new Promise<void>((resolve) => gates.set(request.type, resolve));
      return request;
    },
  });
  const client = await pair.client();
  const order: string[] = [];
  const calls = ['a', 'b', 'c'].map(async (type) => {
    const answer = await client.call(EchoService, 'echo', { type });
    order.push(answer.type);
    // The next gate is opened by the answer before it.
    gates.get({ c: 'b', b: 'a' }[answer.type] ?? '')?.();
  });
  while (gates.size < 3) await new Promise((resolve) => setImmediate(resolve));
  gates.get('c')?.();
  await Promise.all(calls);
  t.strictSame(order, ['c', 'b', 'a']);
});

t.test('a thousand calls at once are all answered', async (t) => {
  const client = await (await startPair(t)).client();
  const types = Array.from({ length: 1000 }, (_, at) => String(at));
  const answers = await Promise.all(types.map((type) => client.call(EchoService, 'echo', { type })));
  t.strictSame(
    answers.map(({ type }) => type),
    types,
  );
});

t.test('a call that takes too long is given up at both ends', async (t) => {
  const aborted = later<unknown>();
  const pair = await startPair(t, {
    echo: (_request, { signal }) =>
      new Promise(() => {
        signal.addEventListener('abort', () => aborted.resolve(signal.reason));
      }),
  });
  const client = await pair.client();
  await t.rejects(client.call(EchoService, 'echo', {}, { timeoutMs: 30 }), { code: 'deadline exceeded' });
  t.match(await aborted.promise, { code: 'deadline exceeded' });
  const next = client.stream(EchoService, 'repeat', { pid: 1 });
  t.equal((await next.response()).type, '0', 'the connection goes on');
});

t.test('a cancelled call rejects at once, and its late answer is dropped', async (t) => {
  const release = later<void>();
  const pair = await startPair(t, {
    echo: async (request) => {
      if (request.type === 'slow') await release.promise;
      return request;
    },
  });
  const client = await pair.client();
  const controller = new AbortController();
  const call = client.call(EchoService, 'echo', { type: 'slow' }, { signal: controller.signal });
  controller.abort();
  await t.rejects(call, { code: 'cancelled' });
  release.resolve();
  t.equal((await client.call(EchoService, 'echo', { type: 'next' })).type, 'next');
  const signal = AbortSignal.abort();
  await t.rejects(client.call(EchoService, 'echo', {}, { signal }), { code: 'cancelled' }, 'before it was sent');
});

t.test('when the server goes away, pending calls are unavailable', async (t) => {
  const started = later<void>();
  const pair = await startPair(t, {
    echo: () => {
      started.resolve();
      return new Promise(() => {});
    },
  });
  const client = await pair.client();
  const closed = later<void>();
  client.onClose(() => closed.resolve());
  const call = client.call(EchoService, 'echo', {}, { timeoutMs: 60_000 });
  await started.promise;
  void pair.server.close({ graceMs: 0 });
  await t.rejects(call, { code: 'unavailable', message: 'ttrpc: closed' });
  await closed.promise;
  t.ok(client.closed);
  await t.rejects(client.call(EchoService, 'echo', {}), { code: 'unavailable', message: 'ttrpc: closed' });
  const again = later<void>();
  client.onClose(() => again.resolve());
  await again.promise;
});

t.test('when the client goes away, handlers are told', async (t) => {
  const started = later<void>();
  const aborted = later<unknown>();
  const pair = await startPair(t, {
    echo: (_request, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve(signal.reason));
      started.resolve();
      return new Promise(() => {});
    },
  });
  const client = await pair.client();
  const call = client.call(EchoService, 'echo', {});
  await started.promise;
  client.close();
  await t.rejects(call, { code: 'unavailable' });
  t.match(await aborted.promise, { code: 'unavailable' });
  t.same(pair.errors, []);
});

t.test('messages up to 4 MiB pass, larger ones are refused where they are made', async (t) => {
  const pair = await startPair(t, {
    echo: ({ source }) => ({ source: source.startsWith('grow') ? 'x'.repeat(5 << 20) : source }),
  });
  const client = await pair.client();
  const large = 'x'.repeat((4 << 20) - 200);
  t.equal((await client.call(EchoService, 'echo', { source: large })).source.length, large.length);
  const call = client.call(EchoService, 'echo', { source: 'x'.repeat(4 << 20) });
  await t.rejects(call, { code: 'resource exhausted' }, 'by the client');
  await t.rejects(
    client.call(EchoService, 'echo', { source: 'grow' }),
    { code: 'resource exhausted' },
    'by the server',
  );
  t.equal((await client.call(EchoService, 'echo', { source: 'next' })).source, 'next', 'the connection goes on');
});

t.test('closing waits for calls under way, and takes no new ones', async (t) => {
  const started = later<void>();
  const release = later<void>();
  const pair = await startPair(t, {
    echo: async (request) => {
      started.resolve();
      await release.promise;
      return request;
    },
  });
  const client = await pair.client();
  const idle = await pair.client();
  const idleClosed = later<void>();
  idle.onClose(() => idleClosed.resolve());
  const call = client.call(EchoService, 'echo', { type: 'last' });
  await started.promise;
  const closed = pair.server.close({ graceMs: 10_000 });
  await idleClosed.promise;
  await t.rejects(client.call(EchoService, 'echo', {}), { code: 'unavailable' });
  release.resolve();
  t.equal((await call).type, 'last');
  await closed;
  t.equal(pair.server.connectionCount, 0);
  t.throws(() => statSync(pair.path), { code: 'ENOENT' }, 'the socket file is gone');
  await t.rejects(TtrpcClient.connect(pair.path, { timeoutMs: 1000 }), { code: 'unavailable' });
});

t.test('a streaming method cannot be called as a plain one', async (t) => {
  const client = await (await startPair(t)).client();
  await t.rejects(client.call(EchoService, 'repeat', {}), {
    code: 'internal',
    message: /Repeat is a streaming method/,
  });
});

t.test('the socket is its owner’s alone', async (t) => {
  const pair = await startPair(t);
  t.equal(statSync(pair.path).mode & 0o777, 0o600);
});

t.test('a socket file that nobody listens on is replaced, one with a listener is not', async (t) => {
  const pair = await startPair(t);
  const second = new TtrpcServer();
  await t.rejects(second.listen(pair.path), { code: 'already exists' });
  const stale = `${pair.path}2`;
  const { execFileSync } = await import('node:child_process');
  const program = `require('net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 9))`;
  try {
    execFileSync(process.execPath, ['-e', program], { stdio: 'ignore' });
  } catch {
    // It died of the signal, as it should.
  }
  t.ok(statSync(stale).isSocket());
  await second.listen(stale);
  await second.close();
});

t.test('addresses that are no good are refused by name', async (t) => {
  const connect = (address: string) => TtrpcClient.connect(address, { timeoutMs: 500 });
  await t.rejects(connect(`/tmp/${'x'.repeat(110)}`), { code: 'invalid argument', message: /maximum is 107/ });
  await t.rejects(connect('\0abstract'), { code: 'invalid argument' });
  await t.rejects(connect('tcp://127.0.0.1:1'), { code: 'invalid argument' });
  await t.rejects(connect('unix:///nonexistent/s'), { code: 'unavailable', message: /ENOENT/ });
  await t.rejects(new TtrpcServer().listen('/nonexistent/s'), GantryError);
});

t.test('a unary call on a unix socket takes well under a millisecond', async (t) => {
  const client = await (await startPair(t)).client();
  const timesMs: number[] = [];
  for (let round = 0; round < 2000; round++) {
    const before = performance.now();
    await client.call(EchoService, 'echo', { type: 'bind' });
    timesMs.push(performance.now() - before);
  }
  const p50Ms = timesMs.toSorted((a, b) => a - b)[1000] ?? 0;

  t.ok(p50Ms < 1, `${p50Ms} ms`);
});
