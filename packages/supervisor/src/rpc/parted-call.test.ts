import t from 'tap';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { content, grpcServiceDefinition } from '@gantry/api';
import { alreadyExists, cancelled } from '@gantry/errors';
import { grpcServer, listen } from './grpc-server.ts';
import { bind } from './handlers.ts';
import type { Handlers } from './handlers.ts';
import { partsOf } from './parted-message.ts';

type Write = Handlers<typeof content.ContentService>['write'];
type Stream = ClientDuplexStream<object, content.WriteContentResponse>;

/** A server with this Write, and calls of it; all go with the test. */
async function serve(
  test: Pick<typeof t, 'teardown'>,
  write: NonNullable<Write>,
): Promise<(options?: { headers?: Record<string, string>; compress?: boolean; timeoutMs?: number }) => Stream> {
  const dir = mkdtempSync('/tmp/gantry-grpc-');
  const server = grpcServer([bind(content.ContentService, { write })], () => undefined);
  await listen(server, path.join(dir, 's'));
  const clients: Client[] = [];
  test.teardown(async () => {
    for (const client of clients) client.close();
    await server.close(100);
    rmSync(dir, { recursive: true });
  });
  const method = grpcServiceDefinition(content.ContentService)['write'];
  if (method === undefined) throw new Error('no method');
  return ({ headers = {}, compress = false, timeoutMs = 20_000 } = {}) => {
    const options = compress ? { 'grpc.default_compression_algorithm': 2, 'grpc.use_local_subchannel_pool': 1 } : {};
    const client = new Client(`unix:${path.join(dir, 's')}`, credentials.createInsecure(), options);
    clients.push(client);
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    const encode = (value: object): Buffer => Buffer.from(method.requestSerialize(value as never));
    const decode = (bytes: Buffer): content.WriteContentResponse =>
      method.responseDeserialize(bytes) as content.WriteContentResponse;
    return client.makeBidiStreamRequest(method.path, encode, decode, metadata, { deadline: Date.now() + timeoutMs });
  };
}

const failureOf = (stream: Stream): Promise<ServiceError> =>
  new Promise((resolve) => stream.on('error', (err: ServiceError) => resolve(err)).on('data', () => undefined));

/** Answers each message with how much has arrived; says whether it came in parts. */
async function* count(requests: AsyncIterable<content.WriteContentRequest>, seen: Buffer[], parted: boolean[]) {
  let offset = 0n;
  for await (const request of requests) {
    const parts = partsOf(request);
    parted.push(parts !== undefined);
    const pieces: Uint8Array[] = [request.data];
    for await (const more of parts?.pieces ?? []) pieces.push(...more);
    seen.push(Buffer.concat(pieces));
    for (const { length } of pieces) offset += BigInt(length);
    yield { offset, digest: (parts?.whole() ?? request).labels['l'] ?? '' };
  }
}

for (const compress of [false, true]) {
  t.test(`what is sent arrives, ${compress ? 'whole where it is packed' : 'in parts'}`, async (t) => {
    const seen: Buffer[] = [];
    const parted: boolean[] = [];
    const call = await serve(t, (requests) => count(requests, seen, parted));
    const stream = call({ compress });
    const sent = [1, 100_000, 2_000_000, 0, 5].map((length) => randomBytes(length));
    const offsets: bigint[] = [];
    const labels: string[] = [];
    const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
    stream.on('data', (answer: content.WriteContentResponse) => {
      offsets.push(answer.offset);
      labels.push(answer.digest);
    });
    for (const data of sent) {
      stream.write(content.WriteContentRequest.create({ data, labels: { l: String(data.length) } }));
    }
    stream.end();
    await ended;
    t.ok(Buffer.concat(seen).equals(Buffer.concat(sent)));
    t.strictSame(offsets, [1n, 100_001n, 2_100_001n, 2_100_001n, 2_100_006n]);
    t.strictSame(labels, ['1', '100000', '2000000', '0', '5']);
    t.strictSame(new Set(parted), new Set([!compress]));
  });
}

t.test('headers, failures before and after an answer, and too large messages', async (t) => {
  const call = await serve(t, async function* (requests, { namespace, lease }) {
    if (namespace === 'bad') throw alreadyExists(`content of ${lease} – 100 %`);
    for await (const request of requests) {
      if (request.ref === 'stop') throw cancelled('enough');
      yield { digest: `${namespace} ${lease}` };
    }
  });
  const headers = { 'containerd-namespace': 'good', 'containerd-lease': 'l1' };
  t.match(await failureOf(call({ headers: { ...headers, 'containerd-namespace': 'bad' } })), {
    code: 6,
    details: 'content of l1 – 100 %: already exists',
  });
  t.match(await failureOf(call()), { code: 9, details: /namespace is required/ });
  const stream = call({ headers });
  const answers: string[] = [];
  stream.on('data', ({ digest }: content.WriteContentResponse) => answers.push(digest));
  stream.write(content.WriteContentRequest.create({ ref: 'go' }));
  stream.write(content.WriteContentRequest.create({ ref: 'stop' }));
  t.match(await failureOf(stream), { code: 1, details: 'enough' });
  t.strictSame(answers, ['good l1']);
  t.match(
    await failureOf(
      call({ headers: { ...headers, 'containerd-namespace': 'bad', 'containerd-lease': 'x'.repeat(9000) } }),
    ),
    {
      code: 6,
      details: / … .* 100 %: already exists$/,
    },
  );
  const large = call({ headers });
  large.write(content.WriteContentRequest.create({ data: Buffer.alloc(17 * 1024 * 1024) }));
  t.match(await failureOf(large), { code: 8, details: /larger than max/ });
});

t.test('deadlines and clients that leave end the call, also amid a message', async (t) => {
  const ended: boolean[] = [];
  let begun: () => void = () => undefined;
  const call = await serve(t, async function* (requests) {
    try {
      for await (const request of requests) {
        begun();
        for await (const pieces of partsOf(request)?.pieces ?? []) void pieces;
      }
      yield {}; // a client that leaves between two messages looks like one that has sent all
    } finally {
      ended.push(true);
    }
  });
  t.match(await failureOf(call({ timeoutMs: 200 })), { code: 4 });
  const leaving = call();
  const failed = failureOf(leaving);
  const started = new Promise<void>((resolve) => (begun = resolve));
  leaving.write(content.WriteContentRequest.create({ ref: 'x' }));
  await started;
  leaving.cancel();
  t.match(await failed, { code: 1 });
  while (ended.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(ended.length, 2);
});

t.test('a handler that fails, or answers, when its caller has left harms nobody', async (t) => {
  let begun: () => void = () => undefined;
  const left: string[] = [];
  const call = await serve(t, async function* (requests, { signal, namespace }) {
    for await (const request of requests) {
      begun();
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      left.push(request.ref);
      if (namespace === 'fails') throw alreadyExists('content x');
      yield {};
    }
  });
  for (const namespace of ['fails', 'answers']) {
    const leaving = call({ headers: { 'containerd-namespace': namespace } });
    const failed = failureOf(leaving);
    const started = new Promise<void>((resolve) => (begun = resolve));
    // More than is read ahead: the stream stands still when it is reset.
    leaving.write(content.WriteContentRequest.create({ ref: namespace, data: Buffer.alloc(4_000_000) }));
    await started;
    leaving.cancel();
    t.match(await failed, { code: 1 });
  }
  while (left.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  t.strictSame(left, ['fails', 'answers']);
});
