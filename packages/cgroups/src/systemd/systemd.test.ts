import t from 'tap';
import { annotatedProperties } from './annotations.ts';
import { deviceProperties, resourceProperties, roundedForSystemd } from './properties.ts';
import { slicePath, unitPlace } from './unit-name.ts';
import { decodeMessage, encodeMessage, messageKind, messageLength, typesOf } from './wire.ts';
import type { BusValue } from './wire.ts';

const manager = { unified: true, version: 252 };

t.test('a message is what it was before it was bytes', (t) => {
  const signature = 'ssa(sv)a(sa(sv))ybnqiuxtao(ii)ay';
  const body: BusValue[] = [
    'box.scope',
    'replace',
    [
      ['Description', { signature: 's', value: 'a “box”' }],
      ['PIDs', { signature: 'au', value: [1, 4_294_967_295] }],
      ['DeviceAllow', { signature: 'a(ss)', value: [['/dev/null', 'rwm']] }],
      ['MemoryMax', { signature: 't', value: 0xffff_ffff_ffff_ffffn }],
    ],
    [],
    255,
    true,
    -2,
    65_535,
    -3,
    7,
    -4n,
    5n,
    ['/a', '/b/c'],
    [1, -1],
    [1, 2, 3],
  ];
  const message = { kind: messageKind.call, serial: 7, fields: { path: '/a', member: 'M' }, body };
  for (let length = 0; length < 9; length++) {
    // Whatever comes before moves what is aligned.
    const fields = { ...message.fields, member: 'M'.repeat(length + 1) };
    const bytes = encodeMessage({ ...message, fields }, signature);
    t.equal(messageLength(bytes), bytes.length);
    t.equal(messageLength(bytes.subarray(0, 15)), undefined);
    t.same(decodeMessage(bytes), { ...message, fields: { ...fields, signature } });
  }
  t.same(typesOf('sa{sv}a(sa(sv))au'), ['s', 'a{sv}', 'a(sa(sv))', 'au']);
  t.throws(() => typesOf('(s'), { message: /D-Bus type/ });
  t.throws(() => messageLength(Buffer.from('B'.repeat(16))), { message: /byte order/ });
  t.end();
});

t.test('no bytes of a peer do worse than an error', (t) => {
  const good = encodeMessage(
    { kind: messageKind.signal, serial: 1, fields: { path: '/a', member: 'M' }, body: [['a', 'b'], 'x'] },
    'ass',
  );
  for (let at = 12; at < good.length; at++) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      try {
        decodeMessage(bytes);
      } catch (err) {
        t.ok(err instanceof Error && !(err instanceof TypeError) && err.message !== '', String(err));
      }
    }
  }
  t.end();
});

t.test('a path names a unit below a slice', (t) => {
  t.same(unitPlace('a-b.slice:gt:box', 'id', false), { slice: 'a-b.slice', unit: 'gt-box.scope' });
  t.same(unitPlace(':gt:box', 'id', false), { slice: 'system.slice', unit: 'gt-box.scope' });
  t.same(unitPlace('::box', 'id', true), { slice: 'user.slice', unit: 'box.scope' });
  t.same(unitPlace('', 'id', false), { slice: 'system.slice', unit: 'runc-id.scope' });
  t.same(unitPlace('x.slice::y-z.slice', 'id', false), { slice: 'x.slice', unit: 'y-z.slice' });
  for (const path of [
    '/some/path',
    'a:b',
    'a:b:',
    'a:b:c:d',
    'a.slice:b:c/d',
    'a.slice:b:c d',
    `::${'x'.repeat(255)}`,
  ]) {
    t.throws(() => unitPlace(path, 'id', false), { code: 'invalid argument' }, path);
  }
  t.equal(slicePath('a-b-c.slice'), '/a.slice/a-b.slice/a-b-c.slice');
  t.equal(slicePath('-.slice'), '');
  for (const slice of ['', 'a', 'a--b.slice', '-a.slice', 'a-.slice', '../a.slice', '.slice']) {
    t.throws(() => slicePath(slice), { code: 'invalid argument' }, slice);
  }
  t.end();
});

t.test('limits become properties', (t) => {
  const infinity = 0xffff_ffff_ffff_ffffn;
  const of = (...args: Parameters<typeof resourceProperties>): Record<string, BusValue> =>
    Object.fromEntries(resourceProperties(...args).map(([name, { value }]) => [name, value]));
  t.same(of({}, manager), {});
  t.same(of({ memory: { limit: 100, swap: 150, reservation: 50 }, pids: { limit: -1 } }, manager), {
    MemoryMax: 100n,
    MemorySwapMax: 50n,
    MemoryLow: 50n,
    TasksMax: infinity,
  });
  t.same(of({ cpu: { shares: 1024, quota: 33_333, period: 100_000, cpus: '0-2,9', mems: '0' } }, manager), {
    CPUWeight: 100n,
    CPUQuotaPeriodUSec: 100_000n,
    CPUQuotaPerSecUSec: 340_000n,
    AllowedCPUs: Uint8Array.of(7, 2),
    AllowedMemoryNodes: Uint8Array.of(1),
  });
  t.same(of({ cpu: { quota: -1, idle: 1, shares: 5 } }, manager), { CPUWeight: 0n, CPUQuotaPerSecUSec: infinity });
  t.same(of({ cpu: { shares: 5, period: 10, cpus: '0' }, memory: { limit: -1 } }, { unified: false, version: 239 }), {
    CPUShares: 5n,
    CPUQuotaPerSecUSec: infinity,
    MemoryLimit: infinity,
  });
  t.same(
    of({ unified: { 'cpu.max': 'max 5000', 'memory.high': '77', 'pids.max': 'max', 'io.max': '8:0 rbps=1' } }, manager),
    { CPUQuotaPeriodUSec: 5000n, CPUQuotaPerSecUSec: infinity, MemoryHigh: 77n, TasksMax: infinity },
  );
  t.same(roundedForSystemd({ cpu: { quota: 33_333, period: 100_000 } }), { cpu: { quota: 34_000, period: 100_000 } });
  t.same(roundedForSystemd({ pids: { limit: 1 } }), { pids: { limit: 1 } });
  t.end();
});

t.test('device rules become a list of what is allowed', (t) => {
  const [cleared, policy, list] = deviceProperties([
    { allow: false, access: 'rwm' },
    { allow: true, type: 'b', major: 8, access: 'r' },
    { allow: true, type: 'c', major: 1, minor: 11, access: 'rw' },
    { allow: true, type: 'c', minor: 4, access: 'r' },
  ]);
  t.same(cleared, ['DeviceAllow', { signature: 'a(ss)', value: [] }]);
  t.same(policy, ['DevicePolicy', { signature: 's', value: 'strict' }]);
  const allowed = list?.[1].value as [string, string][];
  t.same(allowed.slice(0, 2), [
    ['block-8', 'r'],
    ['/dev/char/1:11', 'rw'],
  ]);
  t.ok(allowed.some(([path, access]) => path === '/dev/char/1:3' && access === 'rwm'));
  t.same(deviceProperties([{ allow: true, access: 'rwm' }])[0], ['DevicePolicy', { signature: 's', value: 'auto' }]);
  t.end();
});

t.test('annotations become properties', (t) => {
  const of = (name: string, value: string) =>
    annotatedProperties({ other: 'x', [`org.systemd.property.${name}`]: value })[0];
  t.same(of('CollectMode', "'inactive-or-failed'"), ['CollectMode', { signature: 's', value: 'inactive-or-failed' }]);
  t.same(of('TimeoutStopUSec', 'uint64 5'), ['TimeoutStopUSec', { signature: 't', value: 5n }]);
  t.same(of('TimeoutStopSec', '7'), ['TimeoutStopUSec', { signature: 't', value: 7_000_000n }]);
  t.same(of('SendSIGHUP', 'true'), ['SendSIGHUP', { signature: 'b', value: true }]);
  t.same(of('Before', '[\'a.service\', "b, c.service"]'), [
    'Before',
    { signature: 'as', value: ['a.service', 'b, c.service'] },
  ]);
  for (const [name, value] of [
    ['X', 'true'],
    ['Bad/Name', 'true'],
    ['Good', '{}'],
    ['Good', "[1, 'a']"],
    ['Good', "'open"],
    ['TimeoutStopSec', 'true'],
  ] as const) {
    t.throws(
      () => of(name, value),
      { code: 'invalid argument', message: /org\.systemd\.property\./ },
      `${name} ${value}`,
    );
  }
  t.end();
});
