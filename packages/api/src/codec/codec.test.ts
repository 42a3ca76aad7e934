import t from 'tap';
import protobuf from 'protobufjs';
import { GantryError } from '@gantry/errors';
import { bootstrap, cgroupsV2, containers, content, events, tasks, typeRegistry, types, wellKnown } from '../index.ts';
import type { MessageType } from '../index.ts';
import { loadOracle, toOracle } from '../testing/proto-oracle.ts';
import { randomFrom, randomMessage } from '../testing/random-message.ts';
import { defineMessage } from './define.ts';

const oracle = loadOracle();
const seed = 20_240_229;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
}

function refusal(type: MessageType<unknown>, bytes: Uint8Array): string {
  try {
    type.decode(bytes);
  } catch (err) {
    if (err instanceof GantryError && err.code === 'invalid argument') return err.message;
    throw err;
  }
  return 'decoded';
}

t.test('every message of proto/ has a type with the same fields', (t) => {
  for (const [name, type] of typeRegistry) {
    const reflected = oracle.lookupType(name);
    t.same(
      type.fields.map((field) => [field.number, field.name]),
      reflected.fieldsArray
        .toSorted((a, b) => a.id - b.id)
        .map((field) => [field.id, protobuf.util.camelCase(field.name)]),
      name,
    );
  }
  t.ok(typeRegistry.size > 300, `${typeRegistry.size} messages`);
  t.end();
});

t.test('random messages of every type are read by an independent codec, and theirs by ours', (t) => {
  const random = randomFrom(seed);
  const failures: string[] = [];
  for (const [name, type] of typeRegistry) {
    const reflected = oracle.lookupType(name);
    for (let round = 0; round < 5; round++) {
      const message = type.create(randomMessage(type, random));
      const ours = type.encode(message);
      const back = reflected.toObject(reflected.decode(ours), { longs: String, defaults: true, arrays: true });
      const theirs = reflected.encode(reflected.fromObject(back)).finish();
      const again = type.decode(theirs);
      if (hex(type.encode(type.decode(ours))) !== hex(ours)) failures.push(`${name}: not the same after a round trip`);
      if (!hasProtoKey(message) && hex(type.encode(again)) !== hex(ours)) failures.push(`${name}: codecs disagree`);
    }
  }
  t.same(failures.slice(0, 5), []);
  t.end();
});

/** protobufjs drops map keys named __proto__; ours keeps them. */
function hasProtoKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return false;
  return Object.entries(value).some(([key, item]) => key === '__proto__' || hasProtoKey(item));
}

t.test('an event has the bytes that protobuf prescribes', (t) => {
  const exit = events.TaskExit.create({
    containerId: 'web',
    id: 'web',
    pid: 300,
    exitStatus: 137,
    exitedAt: { seconds: 1n, nanos: 2 },
  });
  const golden = bytesOf('0a03776562 1203776562 18ac02 208901 2a0408011002');
  t.equal(hex(events.TaskExit.encode(exit)), hex(golden));
  t.strictSame(events.TaskExit.decode(golden), exit);
  t.end();
});

t.test('an absent field gets its default, an optional one is undefined', (t) => {
  t.strictSame(events.TaskExit.decode(new Uint8Array(0)), {
    containerId: '',
    id: '',
    pid: 0,
    exitStatus: 0,
    exitedAt: undefined,
  });
  t.equal(bootstrap.BootstrapParams.decode(new Uint8Array(0)).socketDir, undefined);
  const empty = bootstrap.BootstrapParams.encode(bootstrap.BootstrapParams.create({ socketDir: '' }));
  t.equal(hex(empty), '4a00', 'an optional field that is set to its default is sent');
  t.equal(bootstrap.BootstrapParams.decode(empty).socketDir, '');
  t.end();
});

t.test('negative numbers and 64-bit numbers survive', (t) => {
  const params = bootstrap.BootstrapParams.create({ logLevel: bootstrap.LogLevel.LOG_LEVEL_TRACE });
  const bytes = bootstrap.BootstrapParams.encode(params);
  t.equal(hex(bytes), '18f8ffffffffffffffff01');
  t.equal(bootstrap.BootstrapParams.decode(bytes).logLevel, -8);
  const before = { seconds: -1n, nanos: 999_999_999 };
  t.strictSame(wellKnown.Timestamp.decode(wellKnown.Timestamp.encode(before)), before);
  const largest = cgroupsV2.PidsStat.create({ limit: 2n ** 64n - 1n });
  t.equal(cgroupsV2.PidsStat.decode(cgroupsV2.PidsStat.encode(largest)).limit, 2n ** 64n - 1n);
  t.end();
});

interface Numbers {
  packed: number[];
  big: bigint[];
}
const Numbers: MessageType<Numbers> = defineMessage<Numbers>('test.Numbers', () => [
  { number: 1, protoName: 'packed', name: 'packed', kind: 'uint32', label: 'repeated' },
  { number: 2, protoName: 'big', name: 'big', kind: 'sint64', label: 'repeated' },
]);

t.test('repeated numbers are written packed, and read packed or not', (t) => {
  t.equal(hex(Numbers.encode({ packed: [1, 300], big: [-1n] })), '0a0301ac02120101');
  t.strictSame(Numbers.decode(bytesOf('0801 0a0102 0803 1002')), { packed: [1, 2, 3], big: [1n] });
  t.end();
});

t.test('a varint longer than it needs to be is read to its end', (t) => {
  t.strictSame(Numbers.decode(bytesOf('08 818080808000 08 02')).packed, [1, 2]);
  t.end();
});

t.test('map keys that are dangerous in JavaScript are keys like any other', (t) => {
  const labels = Object.fromEntries([
    ['__proto__', 'a'],
    ['constructor', 'b'],
    ['', 'c'],
  ]);
  const image = containers.Container.create({ labels });
  const back = containers.Container.decode(containers.Container.encode(image));
  t.strictSame(Object.entries(back.labels).toSorted(), Object.entries(labels).toSorted());
  t.equal(containers.Container.create().labels['constructor'], undefined, 'an empty map has no such label');
  t.end();
});

t.test('a map entry without key or value has the defaults of both', (t) => {
  t.strictSame({ ...containers.Container.decode(bytesOf('1200')).labels }, { '': '' });
  const extensions = containers.Container.decode(bytesOf('5203 0a0178')).extensions;
  t.strictSame({ ...extensions }, { x: { typeUrl: '', value: new Uint8Array(0) } });
  t.end();
});

t.test('a message that comes in two parts is merged', (t) => {
  const parts = bytesOf('1a03 0a0161 1a09 12070a01621202 6869');
  const whole = events.ContainerCreate.decode(parts);
  t.equal(whole.runtime?.name, 'a');
  t.equal(whole.runtime?.options?.typeUrl, 'b');
  t.end();
});

t.test('unknown fields of every wire type are skipped, groups included', (t) => {
  const unknown = '7801 7901020304050607087a0161 7d01020304 7b 0801 7b 7c 7c';
  t.equal(types.Mount.decode(bytesOf(`${unknown} 0a0162`)).type, 'b');
  t.equal(types.Mount.decode(bytesOf('0805 0a0162')).type, 'b', 'a known number with another wire type is unknown');
  t.end();
});

t.test('malformed bytes are an invalid argument that names the fault', (t) => {
  const cases: readonly (readonly [string, string, MessageType<unknown>, string])[] = [
    ['a string that is cut off', '0a05 6161', types.Mount, 'field type: truncated'],
    ['a length without a value', '0a', types.Mount, 'field type: truncated'],
    ['a length beyond 32 bits', '0a ffffffffffffffffff01', types.Mount, 'field type: truncated'],
    ['field number zero', '0201', types.Mount, 'invalid field number'],
    ['a field number beyond 29 bits', '8280808080 01', types.Mount, 'invalid field number'],
    ['an unknown wire type', '0f', types.Mount, 'field type: invalid wire type 7'],
    ['the end of a group that was not begun', '7c', types.Mount, 'end of a group that was not begun'],
    ['a group that does not end', '7b', types.Mount, 'truncated'],
    ['an endless varint', '78 ffffffffffffffffffffff', types.Mount, 'varint longer than 10 bytes'],
    ['bytes that are not UTF-8', '0a01ff', types.Mount, 'field type: invalid UTF-8'],
    ['a fault deep inside', '1a04 1202 0a05', events.ContainerCreate, 'field runtime.options.type_url: truncated'],
    [
      'a child that is longer than its parent',
      '1a02 0a05 6161616161',
      events.ContainerCreate,
      'runtime.name: truncated',
    ],
  ];
  for (const [name, bytes, type, text] of cases) t.match(refusal(type, bytesOf(bytes)), text, name);
  t.end();
});

interface Nest {
  nest: Nest | undefined;
}
const Nest: MessageType<Nest> = defineMessage<Nest>('test.Nest', () => [
  { number: 1, protoName: 'nest', name: 'nest', kind: 'message', label: 'singular', message: Nest },
]);

function nested(depth: number, open: number): Uint8Array {
  let bytes = Buffer.alloc(0);
  for (let level = 0; level < depth; level++) {
    const writer = protobuf.Writer.create().uint32(open).bytes(bytes);
    bytes = Buffer.from(writer.finish());
  }
  return bytes;
}

t.test('nesting has a limit: a small message cannot use up the stack', (t) => {
  t.equal(refusal(Nest, nested(90, 0x0a)), 'decoded');
  t.match(refusal(Nest, nested(2000, 0x0a)), 'nested too deeply');
  t.match(refusal(Nest, Buffer.alloc(100_000, 0x7b)), 'nested too deeply', 'groups');
  t.end();
});

t.test('random and mutilated bytes never do more than be refused', (t) => {
  const random = randomFrom(seed);
  const all = [...typeRegistry.values()];
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const type = all[round % all.length] ?? types.Mount;
    const bytes = Buffer.from(type.encode(type.create(randomMessage(type, random))));
    for (let hit = 0; hit <= random() * 4 && bytes.length > 0; hit++) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    const cut = bytes.subarray(0, random() < 0.5 ? bytes.length : Math.floor(random() * bytes.length));
    if (refusal(type, cut) !== 'decoded') refused += 1;
  }
  t.ok(refused > 1000, `${refused} of 20000 refused`);
  t.same(Object.keys(Object.prototype), [], 'nothing was added to what all objects share');
  t.end();
});

t.test('a value that does not fit its field is refused, not cut to size', (t) => {
  const wrong: readonly (readonly [string, Record<string, unknown>])[] = [
    ['field pid: number 4294967296 is not a uint32', { pid: 2 ** 32 }],
    ['field pid: number -1 is not a uint32', { pid: -1 }],
    ['field pid: number 1.5 is not a uint32', { pid: 1.5 }],
    ['field pid: string 1 is not a uint32', { pid: '1' }],
    ['field id: number 5 is not a string', { id: 5 }],
    ['field seconds: number 5 is not a int64', { exitedAt: { seconds: 5 } }],
  ];
  for (const [text, fields] of wrong) {
    t.throws(() => events.TaskExit.encode({ ...events.TaskExit.create(), ...fields }), { message: new RegExp(text) });
  }
  t.end();
});

t.test('create fills every field up and copies what it is given', (t) => {
  const labels = { a: 'b' };
  const info = content.Info.create({ digest: 'd', labels });
  labels.a = 'changed';
  t.strictSame({ ...info.labels }, { a: 'b' });
  t.equal(info.size, 0n);
  const request = tasks.CreateTaskRequest.create({ rootfs: [{ type: 'bind' }] });
  t.strictSame(request.rootfs, [{ type: 'bind', source: '', target: '', options: [] }]);
  t.end();
});

t.test('bytes are views of what was decoded, and slice copies them', (t) => {
  const wire = Buffer.from(wellKnown.Any.encode({ typeUrl: 'x', value: Uint8Array.of(1, 2, 3) }));
  const any = wellKnown.Any.decode(wire);
  const copy = any.value.slice();
  wire.fill(9);
  t.strictSame([...any.value], [9, 9, 9]);
  t.strictSame([...copy], [1, 2, 3]);
  t.end();
});

t.test('large messages are written whole', (t) => {
  const data = Buffer.alloc(3 * 1024 * 1024, 7);
  const message = content.ReadContentResponse.create({ offset: 5n, data });
  const reflected = oracle.lookupType('containerd.services.content.v1.ReadContentResponse');
  const theirs = reflected.encode(reflected.fromObject(toOracle(message) as Record<string, unknown>)).finish();
  t.ok(Buffer.from(content.ReadContentResponse.encode(message)).equals(theirs));
  t.end();
});
