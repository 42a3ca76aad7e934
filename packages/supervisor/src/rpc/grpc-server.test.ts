import t from 'tap';
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import {
  content,
  eventsService,
  grpcServiceDefinition,
  leases,
  packAny,
  events,
  tasks,
  timestampNow,
  version,
} from '@gantry/api';
import type { ServiceType } from '@gantry/api';
import { alreadyExists } from '@gantry/errors';
import { EventExchange } from '../events/exchange.ts';
import { eventsService as eventsBinding } from '../services/events.ts';
import { grpcServer, listen } from './grpc-server.ts';
import type { GrpcServer } from './grpc-server.ts';
import { bind } from './handlers.ts';
import type { Binding } from './handlers.ts';
import { LentMessage } from './lent-message.ts';

type Teardown = Pick<typeof t, 'teardown'>;

/** A server with these services and a client of it; both go with the test. */
async function serve(t: Teardown, ...bindings: readonly Binding[]): Promise<Client> {
  return (await serveWith(t, ...bindings)).client;
}

async function serveWith(
  t: Teardown,
  ...bindings: readonly Binding[]
): Promise<{ client: Client; server: GrpcServer }> {
  const dir = mkdtempSync('/tmp/gantry-grpc-');
  const server = grpcServer(bindings, () => undefined);
  await listen(server, path.join(dir, 's'));
  const client = new Client(`unix:${path.join(dir, 's')}`, credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
  });
  t.teardown(async () => {
    client.close();
    await server.close(100);
    rmSync(dir, { recursive: true });
  });
  return { client, server };
}

/** What grpc-js needs to know of a method. */
function methodOf(service: ServiceType, name: string) {
  const definition = grpcServiceDefinition(service)[name];
  if (definition === undefined) throw new Error(`no method ${name}`);
  return {
    path: definition.path,
    encode: (value: unknown) => Buffer.from(definition.requestSerialize(value as object)),
    decode: (bytes: Buffer): unknown => definition.responseDeserialize(bytes),
  };
}

/** A unary call; resolves to the answer or to the failure. `begun` gets the call. */
function ask(
  client: Client,
  service: ServiceType,
  name: string,
  request: object,
  options: { readonly timeoutMs?: number; readonly begun?: (call: { cancel(): void }) => void } = {},
): Promise<{ readonly code: number; readonly details: string }> {
  const { path: where, encode, decode } = methodOf(service, name);
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(
      where,
      encode,
      decode,
      request,
      new Metadata(),
      { deadline: Date.now() + (options.timeoutMs ?? 10_000) },
      (err: ServiceError | null) =>
        resolve(err === null ? { code: 0, details: '' } : { code: err.code, details: err.details }),
    );
    options.begun?.(call);
  });
}

t.test('a method without a handler is unimplemented', async (t) => {
  const client = await serve(t, bind(leases.LeasesService, {}));
  const failure = await ask(client, leases.LeasesService, 'list', leases.ListRequest.create({}));
  t.match(failure, { code: 12, details: /List of containerd\.services\.leases\.v1\.Leases/ });
});

t.test('an error whose text no header can carry is answered, and the server lives on', async (t) => {
  const long = '–'.repeat(300_000);
  const texts: readonly (readonly [string, string])[] = [
    ['cut amid \u{1f4e6}'.slice(0, -1), 'cut amid \ufffd: already exists'],
    ['line\nline \0', 'line\nline \0: already exists'],
    ['100 % – ümläut', '100 % – ümläut: already exists'],
    [long, `${long.slice(0, 4000)} … ${long.slice(0, 1984)}: already exists`],
  ];
  for (const [text, details] of texts) {
    const client = await serve(
      t,
      bind(leases.LeasesService, {
        create() {
          throw alreadyExists(text);
        },
      }),
    );
    t.match(await ask(client, leases.LeasesService, 'create', leases.CreateRequest.create({})), {
      code: 6,
      details,
    });
  }
});

t.test('a deadline and a cancellation reach the handler', async (t) => {
  for (const how of ['deadline', 'cancel'] as const) {
    let aborted: () => void = () => undefined;
    const wasAborted = new Promise<void>((resolve) => (aborted = resolve));
    let begin: () => void = () => undefined;
    const began = new Promise<void>((resolve) => (begin = resolve));
    const service = bind(version.VersionService, {
      version: (_request, { signal }) =>
        new Promise(() => {
          signal.addEventListener('abort', aborted);
          begin();
        }),
    });
    const client = await serve(t, service);
    const failure = ask(
      client,
      version.VersionService,
      'version',
      {},
      how === 'deadline' ? { timeoutMs: 200 } : { begun: (call) => void began.then(() => call.cancel()) },
    );
    t.equal((await failure).code, how === 'deadline' ? 4 : 1, how);
    await wasAborted;
  }
});

t.test('a message above the limit is refused in both directions, and the connection lives on', async (t) => {
  const service = bind(leases.LeasesService, {
    create: ({ id }) => ({ lease: { id: id === 'grow' ? 'x'.repeat(17 * 1024 * 1024) : 'small' } }),
  });
  const client = await serve(t, service);
  const create = (id: string) => ask(client, leases.LeasesService, 'create', leases.CreateRequest.create({ id }));
  t.equal((await create('x'.repeat(17 * 1024 * 1024))).code, 8);
  t.equal((await create('grow')).code, 8);
  t.equal((await create('fine')).code, 0);
});

t.test('a bidirectional stream that fails between messages ends with its status', async (t) => {
  const service = bind(content.ContentService, {
    async *write(requests) {
      for await (const request of requests) {
        if (request.ref === 'taken') throw alreadyExists('content x');
        yield { offset: 1n };
      }
    },
  });
  const client = await serve(t, service);
  const { path: where, encode, decode } = methodOf(content.ContentService, 'write');
  const call = client.makeBidiStreamRequest(where, encode, decode, new Metadata());
  let answers = 0;
  call.on('data', () => (answers += 1));
  const failure = new Promise<ServiceError>((resolve) => call.on('error', (err: ServiceError) => resolve(err)));
  call.write(content.WriteContentRequest.create({ ref: 'free' }));
  call.write(content.WriteContentRequest.create({ ref: 'taken' }));
  t.match(await failure, { code: 6, details: /content x/ });
  t.equal(answers, 1);
});

t.test('a subscriber that did not read is told so when it reads again', async (t) => {
  const exchange = new EventExchange({ queueLimit: 50 });
  const client = await serve(t, eventsBinding({ exchange }));
  const { path: where, encode, decode } = methodOf(eventsService.EventsService, 'subscribe');
  const lazy = client.makeServerStreamRequest(
    where,
    encode,
    decode,
    eventsService.SubscribeRequest.create({}),
    new Metadata(),
  );
  const failure = new Promise<ServiceError>((resolve) => lazy.on('error', (err: ServiceError) => resolve(err)));
  while (exchange.subscriberCount === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const event = packAny(events.TaskOOM, { containerId: 'x'.repeat(100_000) });
  for (let sent = 0; exchange.subscriberCount > 0 && sent < 1000; sent += 1) {
    exchange.forward({ timestamp: timestampNow(), namespace: 'n', topic: '/t', event });
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(exchange.subscriberCount, 0, 'it was cut off');
  lazy.on('data', () => undefined);
  t.match(await failure, { code: 8, details: /fell 50 events behind/ });
});

t.test('a server that ends tells its endless calls so, and lets the others finish', async (t) => {
  const exchange = new EventExchange();
  let began: () => void = () => undefined;
  const underWay = new Promise<void>((resolve) => (began = resolve));
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const waits = bind(tasks.TasksService, {
    wait: (_request, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
        began();
      }),
  });
  const works = bind(leases.LeasesService, {
    async list() {
      await finished;
      return {};
    },
  });
  const { client, server } = await serveWith(t, eventsBinding({ exchange }), waits, works);
  const { path: where, encode, decode } = methodOf(eventsService.EventsService, 'subscribe');
  const request = eventsService.SubscribeRequest.create({});
  const subscription = client.makeServerStreamRequest(where, encode, decode, request, new Metadata());
  const cutOff = new Promise<ServiceError>((resolve) => subscription.on('error', (err: ServiceError) => resolve(err)));
  subscription.on('data', () => undefined);
  const waiting = ask(client, tasks.TasksService, 'wait', tasks.WaitRequest.create({}));
  const working = ask(client, leases.LeasesService, 'list', leases.ListRequest.create({}));
  await underWay;
  while (exchange.subscriberCount === 0) await new Promise((resolve) => setTimeout(resolve, 5));

  const closed = server.close(60_000);
  t.match(await cutOff, { code: 14, details: /going away/ });
  t.match(await waiting, { code: 14, details: /going away/ });
  finish();
  t.equal((await working).code, 0);
  await closed;
  t.equal(exchange.subscriberCount, 0);
});

t.test('lent bytes arrive as the message they stand for, and are given back once each', async (t) => {
  let given = 0;
  const service = bind(content.ContentService, {
    async *read() {
      for (let n = 0; n < 40; n++) {
        const body = Buffer.alloc(200_000, n);
        const head = Buffer.from([
          (2 << 3) | 2,
          (body.length & 0x7f) | 0x80,
          ((body.length >> 7) & 0x7f) | 0x80,
          body.length >> 14,
        ]);
        const message: unknown = new LentMessage(head, body, () => {
          given += 1;
          body.fill(255); // whoever still looks sees that it is too late
        });
        yield message as { data: Uint8Array };
      }
    },
  });
  const client = await serve(t, service);
  const { path: where, encode, decode } = methodOf(content.ContentService, 'read');
  const read = () =>
    client.makeServerStreamRequest(where, encode, decode, content.ReadContentRequest.create({}), new Metadata());
  let count = 0;
  for await (const message of read()) {
    const { data } = message as content.ReadContentResponse;
    if (data.length !== 200_000 || data.some((byte) => byte !== count)) t.fail(`message ${count}`);
    count += 1;
  }
  t.equal(count, 40);
  t.equal(given, 40);
  const half = read();
  half.on('error', () => undefined);
  await new Promise((resolve) => half.once('data', resolve));
  half.cancel();
  const before = given;
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.ok(given - before < 40, 'a client that leaves ends it');
});
