import t from 'tap';
import { GantryError } from '@gantry/errors';
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from './defaults.ts';
import { toInt64, toUint64 } from './integers.ts';
import { parseProcess } from './parse-process.ts';
import { parseLinuxResources } from './parse-resources.ts';
import { parseSpec } from './parse-spec.ts';

/** A configuration with something in every section. */
const full = {
  ociVersion: '1.3.0',
  process: {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 1000, gid: 1000, umask: 18, additionalGids: [5, 10] },
    args: ['sh', '-c', 'true'],
    env: ['PATH=/bin', 'EMPTY='],
    cwd: '/',
    capabilities: { bounding: defaultCapabilities, ambient: [] },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
    oomScoreAdj: -500,
    scheduler: { policy: 'SCHED_DEADLINE', runtime: 1, deadline: 2, period: 3, flags: ['SCHED_FLAG_RECLAIM'] },
    ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 7 },
    execCPUAffinity: { initial: '0-1', final: '0' },
  },
  root: { path: 'rootfs', readonly: true },
  hostname: 'web',
  domainname: 'example.org',
  mounts: defaultMounts,
  hooks: { prestart: [{ path: '/bin/hook', args: ['hook'], env: ['A=b'], timeout: 5 }], poststop: [] },
  annotations: { 'org.example.key': '', ['__proto__']: 'a key like any other' },
  linux: {
    uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    sysctl: { 'net.core.somaxconn': '256' },
    resources: {
      devices: [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 10, minor: -1, access: 'rw' },
      ],
      memory: { limit: 9_223_372_036_854_771_712, swap: -1, swappiness: 60, checkBeforeUpdate: true },
      cpu: { shares: 1024, quota: -1, period: 100_000, cpus: '0-3,7', idle: 0 },
      pids: { limit: 100 },
      blockIO: { weight: 500, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1e6 }] },
      hugepageLimits: [{ pageSize: '2MB', limit: 2 ** 30 }],
      network: { classID: 1, priorities: [{ name: 'eth0', priority: 5 }] },
      rdma: { mlx5_1: { hcaHandles: 3 } },
      unified: { 'memory.high': '100M' },
    },
    cgroupsPath: '/default/web',
    namespaces: [{ type: 'pid' }, { type: 'network', path: '/run/netns/a' }],
    devices: [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 438, uid: 0, gid: 0 }],
    netDevices: { eth7: { name: 'eth0' } },
    seccomp: {
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      architectures: ['SCMP_ARCH_X86_64'],
      flags: [],
      syscalls: [
        {
          names: ['clone'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 2_114_060_288, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
        },
      ],
    },
    rootfsPropagation: 'rslave',
    maskedPaths: defaultMaskedPaths,
    readonlyPaths: defaultReadonlyPaths,
    intelRdt: { closID: 'a', schemata: ['L3:0=f'] },
    memoryPolicy: { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] },
    personality: { domain: 'LINUX32' },
    timeOffsets: { monotonic: { secs: -5, nanosecs: 3 } },
  },
} as const;

/** Deep copies the document, changes it at a path and gives its text. */
function changed(path: readonly (string | number)[], value: unknown): string {
  const copy: unknown = structuredClone(full);
  let at = copy as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
  at[path.at(-1) ?? ''] = value;
  return JSON.stringify(copy);
}

t.test('every member of a full configuration is kept as it is', (t) => {
  const source = JSON.stringify(full);
  t.strictSame(JSON.parse(JSON.stringify(parseSpec(source))), JSON.parse(source));
  t.strictSame(parseSpec(Buffer.from(source)), parseSpec(source), 'bytes and text alike');
  t.equal(parseSpec(source).annotations?.['__proto__'], 'a key like any other');
  t.end();
});

t.test('null is absent and unknown members are not looked at', (t) => {
  const spec = parseSpec(
    '{"ociVersion":"1.0.2-dev","process":null,"linux":{"namespaces":null,"future":{"x":[1]}},"windows":7,"mounts":null}',
  );
  t.strictSame(spec, { ociVersion: '1.0.2-dev', linux: {} });
  t.end();
});

t.test('what producers leave empty means the default', (t) => {
  const spec = parseSpec(
    '{"ociVersion":"1.0.0","linux":{"rootfsPropagation":"","namespaces":[{"type":"pid","path":""}],"resources":{"devices":[{"allow":true,"type":"","access":"r"}]}}}',
  );
  t.strictSame(spec.linux, { namespaces: [{ type: 'pid' }], resources: { devices: [{ allow: true, access: 'r' }] } });
  t.strictSame(parseProcess('{"cwd":"/"}').user, { uid: 0, gid: 0 });
  t.end();
});

const hostile: readonly (readonly [path: readonly (string | number)[], value: unknown, message: string])[] = [
  [['ociVersion'], '2.0.0', 'ociVersion: unsupported version "2.0.0", the major must be 1'],
  [['ociVersion'], 'one', 'ociVersion: not a version: "one"'],
  [['ociVersion'], undefined, 'ociVersion: is required'],
  [['linux', 'namespaces', 1, 'path'], 'run/netns/a', 'linux.namespaces[1].path: must be absolute, not "run/netns/a"'],
  [['linux', 'namespaces', 1, 'type'], 'pid', 'linux.namespaces[1].type: duplicate of "pid"'],
  [['linux', 'namespaces', 0, 'type'], 'net', 'linux.namespaces[0].type: unknown value "net"'],
  [['linux', 'namespaces'], {}, 'linux.namespaces: must be an array, not object'],
  [['hooks', 'preStart'], [], 'hooks.preStart: unknown hook'],
  [['hooks', 'prestart', 0, 'path'], 'hook', 'hooks.prestart[0].path: must be absolute, not "hook"'],
  [['hooks', 'prestart', 0, 'timeout'], 0, 'hooks.prestart[0].timeout: must be greater than zero'],
  [['process', 'cwd'], '', 'process.cwd: must be absolute, not ""'],
  [['process', 'args', 1], 'a\0b', 'process.args[1]: must not contain a NUL character'],
  [['process', 'args'], 'sh', 'process.args: must be an array, not string'],
  [['process', 'user', 'uid'], 2 ** 32 - 1, 'process.user.uid: 4294967295 is not between 0 and 4294967294'],
  [['process', 'user', 'uid'], -1, 'process.user.uid: -1 is not between 0 and 4294967294'],
  [['process', 'user', 'gid'], 1.5, 'process.user.gid: must be a whole number, not 1.5'],
  [['process', 'user', 'gid'], '0', 'process.user.gid: must be a number, not string'],
  [['process', 'rlimits', 0, 'type'], 'NOFILE', 'process.rlimits[0].type: unknown value "NOFILE"'],
  [['process', 'rlimits', 0, 'soft'], 2000, 'process.rlimits[0]: soft must not be above hard'],
  [['process', 'oomScoreAdj'], 1001, 'process.oomScoreAdj: 1001 is not between -1000 and 1000'],
  [['process', 'ioPriority', 'priority'], 8, 'process.ioPriority.priority: invalid ioPriority.Priority: 8'],
  [['process', 'ioPriority', 'class'], 'X', 'process.ioPriority.class: invalid ioPriority.Class: "X"'],
  [['process', 'scheduler', 'nice'], 0.5, 'process.scheduler.nice: must be a whole number, not 0.5'],
  [
    ['process', 'scheduler', 'policy'],
    'SCHED_RR',
    'process.scheduler: runtime, deadline and period can only be given with SCHED_DEADLINE',
  ],
  [['mounts', 0, 'destination'], '', 'mounts[0].destination: must not be empty'],
  [['mounts', 0, 'options', 0], 7, 'mounts[0].options[0]: must be a string, not number'],
  [['annotations', 'a'], 1, 'annotations["a"]: must be a string, not number'],
  [
    ['linux', 'resources', 'devices', 1, 'access'],
    'rx',
    'linux.resources.devices[1].access: must consist of the letters r, w and m',
  ],
  [['linux', 'resources', 'cpu', 'cpus'], '../x', 'linux.resources.cpu.cpus: must be a list of numbers and ranges'],
  [
    ['linux', 'resources', 'memory', 'limit'],
    2 ** 64,
    'linux.resources.memory.limit: 18446744073709552000 is not between -9223372036854776000 and 9223372036854776000',
  ],
  [
    ['linux', 'resources', 'hugepageLimits', 0, 'pageSize'],
    '../2MB',
    'linux.resources.hugepageLimits[0].pageSize: must be a size such as 2MB',
  ],
  [['linux', 'seccomp', 'defaultAction'], 'ALLOW', 'linux.seccomp.defaultAction: unknown value "ALLOW"'],
  [
    ['linux', 'seccomp', 'syscalls', 0, 'args', 0, 'index'],
    6,
    'linux.seccomp.syscalls[0].args[0].index: 6 is not between 0 and 5',
  ],
  [
    ['linux', 'seccomp', 'syscalls', 0, 'args', 0, 'value'],
    2 ** 53 + 2,
    'linux.seccomp.syscalls[0].args[0].value: 9007199254740994 is above 2^53 and may have been rounded',
  ],
  [['linux', 'devices', 0, 'path'], 'dev/fuse', 'linux.devices[0].path: must be absolute, not "dev/fuse"'],
  [['linux', 'uidMappings', 0, 'size'], 0, 'linux.uidMappings[0].size: 0 is not between 1 and 4294967295'],
  [['linux', 'intelRdt', 'closID'], '../x', 'linux.intelRdt.closID: invalid intelRdt.ClosID "../x"'],
  [['linux', 'memoryPolicy', 'nodes'], '', 'linux.memoryPolicy: nodes must not be empty with MPOL_BIND'],
  [['linux', 'personality', 'domain'], 'BSD', 'linux.personality.domain: unknown value "BSD"'],
  [['linux', 'timeOffsets', 'realtime'], {}, 'linux.timeOffsets.realtime: unknown clock'],
  [['linux', 'netDevices', 'eth7', 'name'], 'a/b', 'linux.netDevices["eth7"].name: must be an interface name'],
  [['linux'], [], 'linux: must be an object, not array'],
];

t.test('a refused value is named by its path', (t) => {
  for (const [path, value, message] of hostile) {
    try {
      parseSpec(changed(path, value));
      t.ok(false, `accepted ${message}`);
    } catch (err) {
      t.equal(err instanceof GantryError && err.code, 'invalid argument');
      t.equal(err instanceof Error && err.message, message);
    }
  }
  t.end();
});

t.test('documents are bounded in size and depth and must be JSON in UTF-8', (t) => {
  const table: [string | Uint8Array, RegExp][] = [
    ['', /^runtime configuration: not valid JSON$/],
    ['{', /not valid JSON/],
    ['null', /must be an object, not null/],
    ['[]', /must be an object, not array/],
    [`${'['.repeat(65)}${']'.repeat(65)}`, /nested deeper than 64 levels/],
    [`{"ociVersion":${'{"a":'.repeat(1e6)}`, /nested deeper/],
    [Buffer.from([0x7b, 0xff, 0x7d]), /not valid UTF-8/],
    [' '.repeat(16 * 1024 * 1024 + 1), /larger than 16777216 bytes/],
  ];
  for (const [document, message] of table) t.throws(() => parseSpec(document), { code: 'invalid argument', message });
  const brackets = `{"ociVersion":"1.0.0","hostname":"${'[{\\"'.repeat(100)}\\\\"}`;
  t.equal(parseSpec(brackets).hostname?.length, 301, 'brackets in text do not count');
  t.end();
});

t.test('numbers of 64 bits become the nearest the kernel has', (t) => {
  const { memory } = parseLinuxResources('{"memory":{"limit":9223372036854775807,"swap":-9223372036854775808}}');
  t.equal(toInt64(memory?.limit ?? 0), 2n ** 63n - 1n);
  t.equal(toInt64(memory?.swap ?? 0), -(2n ** 63n));
  const { rlimits } = parseProcess(
    '{"cwd":"/","rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}]}',
  );
  t.equal(toUint64(rlimits?.[0]?.hard ?? 0), 2n ** 64n - 1n);
  t.equal(toUint64(-1), 2n ** 64n - 1n);
  t.end();
});

/** mulberry32: the same sequence on every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const strange: readonly unknown[] = [
  null,
  true,
  -1,
  1e308,
  0.1,
  '',
  '\0',
  '../..',
  [],
  {},
  [[]],
  { a: 1 },
  2 ** 64,
  'pid',
];

/** Every place of a JSON value. */
function places(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, inner]) => places(inner, [...path, key]))];
}

t.test('any value in any place is parsed or refused as an invalid argument', (t) => {
  const random = randomFrom(1);
  const all = places(full).filter((path) => path.length > 0);
  let parsed = 0;
  let refused = 0;
  for (const path of all) {
    for (const value of strange) {
      try {
        parseSpec(changed(path, value));
        parsed++;
      } catch (err) {
        if (!(err instanceof GantryError) || err.code !== 'invalid argument') throw err;
        refused++;
      }
    }
  }
  const source = JSON.stringify(full);
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(source);
    for (let flips = 1 + random(4); flips > 0; flips--) bytes[random(bytes.length)] = random(256);
    try {
      parseSpec(bytes.subarray(0, random(8) === 0 ? random(bytes.length) : bytes.length));
      parsed++;
    } catch (err) {
      if (!(err instanceof GantryError) || err.code !== 'invalid argument') throw err;
      refused++;
    }
  }
  t.ok(parsed > 100 && refused > 1000, `${parsed} parsed, ${refused} refused`);
  t.end();
});
