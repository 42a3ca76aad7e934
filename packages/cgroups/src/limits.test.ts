import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { blkioToIoWeight, writeBlkioV1, writeIoV2 } from './blkio.ts';
import { sharesToWeight, writeCpuV1, writeCpuV2 } from './cpu.ts';
import { inheritCpuset, writeCpuset } from './cpuset.ts';
import { writeHugetlb } from './hugetlb.ts';
import { swapAlone, writeMemoryV1, writeMemoryV2 } from './memory.ts';
import { writePids } from './pids.ts';
import { writeRdma } from './rdma.ts';
import { writeUnified } from './unified.ts';

const root = mkdtempSync(join(tmpdir(), 'gantry-limits-'));
t.teardown(() => rmSync(root, { recursive: true }));
let groups = 0;

/** A directory with these files; `read` gives what was written last. */
function group(files: Readonly<Record<string, string>>) {
  const directory = join(root, `g${groups++}`);
  mkdirSync(directory);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  return { directory, read: (file: string) => readFileSync(join(directory, file), 'utf8') };
}

t.test('shares become weights along the curve through the three fixed points', (t) => {
  const table: [number, number][] = [
    [0, 0],
    [1, 1],
    [2, 1],
    [1024, 100],
    [262_144, 10_000],
    [2 ** 40, 10_000],
  ];
  for (const [shares, weight] of table) t.equal(sharesToWeight(shares), weight, `${shares}`);
  for (let shares = 3; shares < 262_144; shares += 997) {
    t.ok(sharesToWeight(shares) >= sharesToWeight(shares - 1) && sharesToWeight(shares) <= 10_000);
  }
  t.equal(blkioToIoWeight(10), 1);
  t.equal(blkioToIoWeight(1000), 10_000);
  t.end();
});

t.test('the v2 limit of swap is what the pair leaves for it', (t) => {
  t.equal(swapAlone(100n, 150n), 50n);
  t.equal(swapAlone(100n, 100n), 0n);
  t.equal(swapAlone(100n, -1n), 'max');
  t.equal(swapAlone(-1n, 0n), 'max');
  t.equal(swapAlone(100n, 0n), undefined);
  t.throws(() => swapAlone(0n, 100n), { code: 'invalid argument' });
  t.throws(() => swapAlone(-1n, 100n), { code: 'invalid argument' });
  t.throws(() => swapAlone(100n, 99n), { code: 'invalid argument' });
  t.end();
});

t.test('v2 memory limits are written as bytes or max', (t) => {
  const { directory, read } = group({ 'memory.max': 'max', 'memory.low': '0', 'memory.swap.max': 'max' });
  writeMemoryV2(directory, { limit: 1 << 20, swap: 3 << 20, reservation: -1, swappiness: 5 });
  t.equal(read('memory.max'), '1048576');
  t.equal(read('memory.swap.max'), '2097152');
  t.equal(read('memory.low'), 'max');
  writeMemoryV2(directory, { limit: 0 });
  t.equal(read('memory.max'), '1048576', '0 means unchanged');
  writeMemoryV2(directory, { limit: 9_223_372_036_854_771_712 });
  t.equal(read('memory.max'), '9223372036854771712');
  t.end();
});

t.test('without swap accounting only a real swap limit is an error', (t) => {
  const { directory, read } = group({ 'memory.max': 'max' });
  writeMemoryV2(directory, { limit: -1 });
  writeMemoryV2(directory, { limit: 100, swap: 100 });
  t.equal(read('memory.max'), '100');
  t.throws(() => writeMemoryV2(directory, { limit: 100, swap: 200 }), {
    code: 'failed precondition',
    message: 'linux.resources.memory.swap: this host has no memory.swap.max',
  });
  t.end();
});

t.test('a limit below what is in use is refused when the caller asks for the check', (t) => {
  const { directory } = group({ 'memory.max': 'max', 'memory.current': '5000\n' });
  t.throws(
    () => writeMemoryV2(directory, { limit: 5000, checkBeforeUpdate: true }),
    /rejecting memory limit 5000 <= usage 5000/,
  );
  writeMemoryV2(directory, { limit: 5001, checkBeforeUpdate: true });
  t.end();
});

t.test('v1 memory without limit takes the limit of memory and swap away too', (t) => {
  const { directory, read } = group({ 'memory.limit_in_bytes': '5', 'memory.memsw.limit_in_bytes': '9' });
  writeMemoryV1(directory, { limit: -1 });
  t.equal(read('memory.limit_in_bytes'), '-1');
  t.equal(read('memory.memsw.limit_in_bytes'), '-1');
  const bare = group({ 'memory.limit_in_bytes': '5' });
  writeMemoryV1(bare.directory, { limit: -1 });
  t.equal(bare.read('memory.limit_in_bytes'), '-1');
  t.throws(() => writeMemoryV1(directory, { swappiness: 101 }), { code: 'invalid argument' });
  t.end();
});

t.test('v2 quota and period share a file and one keeps the other', (t) => {
  const { directory, read } = group({
    'cpu.max': 'max 100000\n',
    'cpu.weight': '100',
    'cpu.max.burst': '0',
    'cpu.idle': '0',
  });
  writeCpuV2(directory, { quota: 50_000, shares: 1024 });
  t.equal(read('cpu.max'), '50000 100000');
  t.equal(read('cpu.weight'), '100');
  writeCpuV2(directory, { period: 20_000, burst: 1000 });
  t.equal(read('cpu.max'), '50000 20000');
  t.equal(read('cpu.max.burst'), '1000');
  writeCpuV2(directory, { quota: -1, idle: 1, shares: 5 });
  t.equal(read('cpu.max'), 'max 20000');
  t.equal(read('cpu.idle'), '1');
  t.equal(read('cpu.weight'), '100', 'an idle group has no weight');
  t.end();
});

t.test('v1 CPU fields have a file each', (t) => {
  const { directory, read } = group({ 'cpu.shares': '', 'cpu.cfs_period_us': '', 'cpu.cfs_quota_us': '' });
  writeCpuV1(directory, { shares: 512, quota: -1, period: 50_000 });
  t.equal(read('cpu.shares'), '512');
  t.equal(read('cpu.cfs_quota_us'), '-1');
  t.equal(read('cpu.cfs_period_us'), '50000');
  t.throws(
    () => writeCpuV1(directory, { realtimeRuntime: 1000 }),
    /^.*linux\.resources\.cpu\.realtimeRuntime: this host has no cpu\.rt_runtime_us/,
  );
  t.end();
});

t.test('an empty v1 cpuset inherits from its parent', (t) => {
  const { directory } = group({ 'cpuset.cpus': '0-3\n', 'cpuset.mems': '0\n' });
  const child = join(directory, 'child');
  mkdirSync(child);
  writeFileSync(join(child, 'cpuset.cpus'), '\n');
  writeFileSync(join(child, 'cpuset.mems'), '0\n');
  inheritCpuset(child, false);
  t.equal(readFileSync(join(child, 'cpuset.cpus'), 'utf8'), '0-3');
  writeCpuset(child, { cpus: '1', mems: '' });
  t.equal(readFileSync(join(child, 'cpuset.cpus'), 'utf8'), '1');
  t.end();
});

t.test('no process limit is max, and 0 is the least when a container is made', (t) => {
  const { directory, read } = group({ 'pids.max': '' });
  writePids(directory, { limit: 7 }, false);
  t.equal(read('pids.max'), '7');
  writePids(directory, { limit: 0 }, true);
  t.equal(read('pids.max'), '7');
  writePids(directory, { limit: 0 }, false);
  t.equal(read('pids.max'), '1');
  writePids(directory, { limit: -1 }, true);
  t.equal(read('pids.max'), 'max');
  t.end();
});

t.test('block I/O weights and throttles go where the host has files for them', (t) => {
  const io = group({ 'io.weight': '', 'io.max': '' });
  writeIoV2(io.directory, { weight: 1000, throttleWriteIOPSDevice: [{ major: 8, minor: 16, rate: 500 }] });
  t.equal(io.read('io.weight'), '10000');
  t.equal(io.read('io.max'), '8:16 wiops=500');
  const bfq = group({ 'io.weight': '', 'io.bfq.weight': '' });
  writeIoV2(bfq.directory, { weightDevice: [{ major: 8, minor: 0, weight: 300 }] });
  t.equal(bfq.read('io.bfq.weight'), '8:0 300');
  const v1 = group({ 'blkio.bfq.weight': '', 'blkio.throttle.read_bps_device': '' });
  writeBlkioV1(v1.directory, { weight: 10, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1e6 }] });
  t.equal(v1.read('blkio.bfq.weight'), '10');
  t.equal(v1.read('blkio.throttle.read_bps_device'), '8:0 1000000');
  t.throws(() => writeIoV2(io.directory, { weight: 9 }), { code: 'invalid argument' });
  t.throws(() => writeIoV2(v1.directory, { throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1 }] }), {
    message: 'linux.resources.blockIO.throttleReadBpsDevice[0]: this host has no io.max',
  });
  t.end();
});

t.test('huge page limits cover reservations where the kernel counts them', (t) => {
  const { directory, read } = group({ 'hugetlb.2MB.max': '', 'hugetlb.1GB.max': '', 'hugetlb.1GB.rsvd.max': '' });
  writeHugetlb(
    directory,
    [
      { pageSize: '2MB', limit: 4 << 20 },
      { pageSize: '1GB', limit: 2 ** 64 },
    ],
    'max',
  );
  t.equal(read('hugetlb.2MB.max'), '4194304');
  t.equal(read('hugetlb.1GB.rsvd.max'), '18446744073709551615');
  t.throws(() => writeHugetlb(directory, [{ pageSize: '64KB', limit: 1 }], 'max'), { code: 'failed precondition' });
  t.end();
});

t.test('unified values are written line by line into files of the group only', (t) => {
  const { directory, read } = group({ 'memory.high': '', 'io.max': '', 'cgroup.controllers': 'cpu memory io\n' });
  writeUnified(directory, { 'memory.high': '4096\n', 'io.max': '8:0 rbps=1\n8:0 wbps=2' });
  t.equal(read('memory.high'), '4096');
  t.equal(read('io.max'), '8:0 wbps=2', 'the last line was the last write');
  t.throws(() => writeUnified(directory, { 'hugetlb.2MB.max': '1' }), {
    message: 'unified resource "hugetlb.2MB.max" can\'t be set: controller "hugetlb" not available',
  });
  for (const key of ['../memory.high', 'a/b.c', '', 'memory', '.hidden']) {
    t.throws(() => writeUnified(directory, { [key]: '1' }), { code: 'invalid argument' }, key);
  }
  t.end();
});

t.test('RDMA limits name a device', (t) => {
  const { directory, read } = group({ 'rdma.max': '' });
  writeRdma(directory, { mlx4_0: { hcaHandles: 3, hcaObjects: 10_000 } });
  t.equal(read('rdma.max'), 'mlx4_0 hca_handle=3 hca_object=10000');
  t.throws(() => writeRdma(directory, { 'a b': { hcaHandles: 3 } }), { code: 'invalid argument' });
  t.end();
});
