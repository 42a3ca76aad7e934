import t from 'tap';
import { ttrpcWire, types } from '@gantry/api/shim';
import type { rpc } from '@gantry/api/shim';
import { frameFlags, frameTypes, maxDataBytes } from './frame.ts';
import type { Frame } from './frame.ts';
import { EchoService } from './testing/echo-service.ts';
import { startPair } from './testing/pair.ts';
import type { RawConnection } from './testing/pair.ts';

const codes = { invalidArgument: 3, resourceExhausted: 8, notImplemented: 12 };

function request(method: string, payload: Uint8Array = new Uint8Array(0), service = 'test.Echo'): Uint8Array {
  return ttrpcWire.Request.encode(ttrpcWire.Request.create({ service, method, payload }));
}

function statusOf(frame: Frame | undefined): rpc.Status | undefined {
  return frame?.type === frameTypes.response ? ttrpcWire.Response.decode(frame.data).status : undefined;
}

async function stillAnswers(connection: RawConnection, streamId: number): Promise<boolean> {
  connection.send(frameTypes.request, streamId, 0, request('Echo'));
  const frame = await connection.frame();
  return frame?.streamId === streamId && statusOf(frame) === undefined;
}

t.test('an even stream id is refused', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(frameTypes.request, 2, 0, request('Echo'));
  const frame = await raw.frame();
  t.equal(frame?.streamId, 2);
  t.equal(statusOf(frame)?.code, codes.invalidArgument);
  t.ok(await stillAnswers(raw, 3));
});

t.test('a stream id that was used before, or is smaller than one that was, is refused', async (t) => {
  const raw = await (await startPair(t)).raw();
  t.ok(await stillAnswers(raw, 5));
  for (const streamId of [5, 3, 1]) {
    raw.send(frameTypes.request, streamId, 0, request('Echo'));
    t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument, `id ${streamId}`);
  }
  t.ok(await stillAnswers(raw, 7));
});

t.test('data for a stream that is not open are refused', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(frameTypes.data, 9, 0, Uint8Array.of(1));
  t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument);
  t.ok(await stillAnswers(raw, 9), 'the id is still free');
});

t.test('data after the end of a stream are refused and end the call', async (t) => {
  const pair = await startPair(t, { count: () => new Promise(() => {}) });
  const raw = await pair.raw();
  raw.send(frameTypes.request, 1, frameFlags.remoteOpen, request('Count'));
  raw.send(frameTypes.data, 1, frameFlags.remoteClosed | frameFlags.noData);
  raw.send(frameTypes.data, 1, 0);
  t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument);
  t.ok(await stillAnswers(raw, 3));
});

t.test('an oversized request is dropped and answered, and the connection goes on', async (t) => {
  const raw = await (await startPair(t)).raw();
  const header = Buffer.alloc(10);
  header.writeUInt32BE(maxDataBytes + 1, 0);
  header.writeUInt32BE(1, 4);
  header.writeUInt8(frameTypes.request, 8);
  raw.socket.write(header);
  const frame = await raw.frame();
  t.equal(frame?.streamId, 1);
  t.equal(statusOf(frame)?.code, codes.resourceExhausted, 'before the data have come');
  raw.socket.write(Buffer.alloc(maxDataBytes + 1));
  t.ok(await stillAnswers(raw, 3));
});

t.test('a frame that comes in pieces is a frame', async (t) => {
  const pair = await startPair(t);
  const raw = await pair.raw();
  const other = await pair.client();
  const whole = request('Echo', types.Mount.encode(types.Mount.create({ type: 'bind' })));
  const header = Buffer.alloc(10);
  header.writeUInt32BE(whole.byteLength, 0);
  header.writeUInt32BE(1, 4);
  header.writeUInt8(frameTypes.request, 8);
  for (const byte of Buffer.concat([header, whole])) {
    raw.socket.write(Uint8Array.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal((await raw.frame())?.streamId, 1);
  t.equal((await other.call(EchoService, 'echo', { type: 'x' })).type, 'x', 'others do not wait for it');
});

t.test('half a frame and then nothing: the connection just ends', async (t) => {
  const pair = await startPair(t);
  const raw = await pair.raw();
  raw.socket.end(Buffer.from([0, 0, 0, 50, 0, 0]));
  t.equal(await raw.frame(), undefined);
  t.same(pair.errors, []);
});

t.test('a request that is no protobuf, and a payload that is none, are invalid arguments', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(frameTypes.request, 1, 0, Uint8Array.of(0x0a, 0xff));
  t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument);
  raw.send(frameTypes.request, 3, 0, request('Echo', Uint8Array.of(0x0a, 0x50)));
  t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument);
  raw.send(frameTypes.request, 5, frameFlags.remoteOpen, request('Chat'));
  raw.send(frameTypes.data, 5, 0, Uint8Array.of(0x0a, 0x50));
  t.equal(statusOf(await raw.frame())?.code, codes.invalidArgument);
});

t.test('a service name of a megabyte is not sent back whole', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(frameTypes.request, 1, 0, request('Echo', new Uint8Array(0), 'x'.repeat(1 << 20)));
  const status = statusOf(await raw.frame());
  t.equal(status?.code, codes.notImplemented);
  t.ok((status?.message.length ?? 0) < 20_000);
});

t.test('frame types and flags of the future are passed over', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(0x7f, 1, 0xff, Uint8Array.of(1, 2, 3));
  raw.send(frameTypes.response, 1, 0, Uint8Array.of(1));
  t.ok(await stillAnswers(raw, 1));
});

t.test('zero-length data without the no-data flag are an empty message', async (t) => {
  const raw = await (await startPair(t)).raw();
  raw.send(frameTypes.request, 1, frameFlags.remoteOpen, request('Count'));
  raw.send(frameTypes.data, 1, 0);
  raw.send(frameTypes.data, 1, frameFlags.remoteClosed);
  const frame = await raw.frame();
  t.ok(frame);
  t.equal(Buffer.from(ttrpcWire.Response.decode(frame?.data ?? new Uint8Array(0)).payload).toString('hex'), '0802');
});

t.test('a client that asks and never reads stops itself', async (t) => {
  let handled = 0;
  const pair = await startPair(t, {
    echo: () => {
      handled += 1;
      return { source: 'x'.repeat(1 << 20) };
    },
  });
  const raw = await pair.raw();
  raw.socket.pause();
  for (let id = 1; id < 1000; id += 2) raw.send(frameTypes.request, id, 0, request('Echo', Buffer.alloc(60_000)));
  let before = -1;
  while (before !== handled) {
    before = handled;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.ok(handled < 60, `${handled} of 500 requests were handled`);
  t.equal((await (await pair.client()).call(EchoService, 'echo', {})).source.length, 1 << 20, 'others are served');
});

t.test('random bytes never hurt the server', async (t) => {
  const pair = await startPair(t);
  let state = 12_345;
  const random = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 8;
  };
  for (let round = 0; round < 100; round++) {
    const raw = await pair.raw();
    for (let frame = 0; frame < 20; frame++) {
      const data = Uint8Array.from({ length: random() % 60 }, () => random() & 0xff);
      const body = random() % 2 === 0 ? data : request(['Echo', 'Count', 'Chat', 'Repeat'][random() % 4] ?? '', data);
      raw.send(random() % 5, random() % 40, random() & 0xff, body);
    }
    raw.socket.end(Uint8Array.from({ length: random() % 30 }, () => random() & 0xff));
  }
  t.equal((await (await pair.client()).call(EchoService, 'echo', { type: 'alive' })).type, 'alive');
});

t.test('a server that answers nonsense gives its client errors, not a crash', async (t) => {
  const { default: net } = await import('node:net');
  const pair = await startPair(t);
  const path = `${pair.path}-nonsense`;
  const answers: ((socket: RawConnection['socket'], id: number) => void)[] = [
    (socket, id) => socket.write(frameBytes(frameTypes.response, id, Uint8Array.of(0x0a, 0x50))),
    (socket, id) => socket.write(frameBytes(frameTypes.response, id, Uint8Array.of(0x12, 0x02, 0x0a, 0x50))),
    (socket, id) => socket.write(frameBytes(frameTypes.data, id, Uint8Array.of(1))),
    (socket, id) => {
      const bytes = frameBytes(frameTypes.response, id, new Uint8Array(0));
      bytes.writeUInt32BE(maxDataBytes + 1, 0);
      socket.write(bytes);
    },
  ];
  let turn = 0;
  const nonsense = net.createServer((socket) => socket.once('data', () => answers[turn++]?.(socket, 1)));
  await new Promise<void>((resolve) => nonsense.listen(path, resolve));
  t.teardown(() => nonsense.close());
  const { TtrpcClient } = await import('./index.ts');
  for (const code of ['internal', 'internal', 'internal', 'resource exhausted']) {
    const client = await TtrpcClient.connect(path, { timeoutMs: 1000 });
    await t.rejects(client.call(EchoService, 'echo', {}, { timeoutMs: 2000 }), { code });
    client.close();
  }
});

function frameBytes(type: number, streamId: number, data: Uint8Array): Buffer {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(data.byteLength, 0);
  header.writeUInt32BE(streamId, 4);
  header.writeUInt8(type, 8);
  return Buffer.concat([header, data]);
}
