import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { statsV1, parseBlkio } from './stats-v1.ts';
import { parseRdma } from './stats-rdma.ts';
import { statsV2, parseIo, parsePsi } from './stats-v2.ts';

function recorded(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-stats-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  return directory;
}

t.test('v2 figures come from the files of the same name', (t) => {
  const directory = recorded({
    'pids.current': '3\n',
    'pids.max': 'max\n',
    'cpu.stat': 'usage_usec 2500\nuser_usec 2000\nsystem_usec 500\nnr_periods 4\nnr_throttled 1\nthrottled_usec 77\n',
    'cpu.pressure': 'some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\n',
    'memory.stat': 'anon 4096\nfile 8192\nworkingset_refault_anon 2\nworkingset_refault_file 3\n',
    'memory.current': '12288\n',
    'memory.max': '67108864\n',
    'memory.events': 'low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n',
    'io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n',
    'hugetlb.2MB.current': '0\n',
    'hugetlb.2MB.max': 'max\n',
    'hugetlb.2MB.events': 'max 9\n',
    'hugetlb.2MB.rsvd.current': '0\n',
  });
  const metrics = statsV2(directory);
  t.strictSame(metrics.pids, { current: 3n, limit: 2n ** 64n - 1n });
  t.equal(metrics.cpu?.usageUsec, 2500n);
  t.equal(metrics.cpu?.throttledUsec, 77n);
  t.strictSame(metrics.cpu?.psi, { some: { avg10: 1.5, avg60: 0.25, avg300: 0, total: 12345n }, full: undefined });
  t.equal(metrics.memory?.anon, 4096n);
  t.equal(metrics.memory?.usageLimit, 67_108_864n);
  t.equal(metrics.memory?.workingsetRefault, 5n);
  t.equal(metrics.memory?.maxUsage, 0n, 'a missing file counts as 0');
  t.equal(metrics.memory?.psi, undefined);
  t.strictSame(metrics.memoryEvents, { low: 0n, high: 1n, max: 2n, oom: 3n, oomKill: 4n, oomGroupKill: 5n });
  t.strictSame(metrics.io?.usage, [{ major: 8n, minor: 0n, rbytes: 1n, wbytes: 2n, rios: 3n, wios: 4n }]);
  t.strictSame(metrics.hugetlb, [{ current: 0n, max: 2n ** 64n - 1n, pagesize: '2MB', failcnt: 9n }]);
  t.end();
});

t.test('a group that is gone has figures of 0 and no error', (t) => {
  t.equal(statsV2('/nowhere/at/all').memory?.usage, 0n);
  t.strictSame(statsV1(new Map([['pids', '/nowhere']])).pids, { current: 0n, limit: 0n });
  t.end();
});

t.test('v1 figures come from each controller and absent controllers are undefined', (t) => {
  const directory = recorded({
    'cpuacct.usage': '5000000\n',
    'cpuacct.usage_percpu': '2000000 3000000 \n',
    'cpuacct.stat': 'user 3\nsystem 2\n',
    'memory.stat': 'cache 1\nrss 2\npgpgin 3\nhierarchical_memsw_limit 9223372036854771712\ntotal_rss 7\n',
    'memory.usage_in_bytes': '10\n',
    'memory.limit_in_bytes': '20\n',
    'memory.oom_control': 'oom_kill_disable 0\nunder_oom 1\noom_kill 6\n',
    'blkio.throttle.io_service_bytes': '8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n',
  });
  const metrics = statsV1(new Map(['cpuacct', 'memory', 'blkio'].map((name) => [name, directory] as const)));
  t.strictSame(metrics.cpu?.usage, {
    total: 5_000_000n,
    user: 30_000_000n,
    kernel: 20_000_000n,
    perCpu: [2_000_000n, 3_000_000n],
  });
  t.equal(metrics.memory?.hierarchicalSwapLimit, 9_223_372_036_854_771_712n);
  t.equal(metrics.memory?.totalRss, 7n);
  t.strictSame(metrics.memory?.usage, { limit: 20n, usage: 10n, max: 0n, failcnt: 0n });
  t.equal(metrics.memory?.swap, undefined);
  t.equal(metrics.memoryOomControl?.oomKill, 6n);
  t.strictSame(
    metrics.blkio?.ioServiceBytesRecursive.map(({ op, value }) => [op, value]),
    [
      ['Read', 10n],
      ['Write', 20n],
      ['Total', 30n],
    ],
  );
  t.equal(metrics.pids, undefined);
  t.end();
});

t.test('lines that make no sense are left out', (t) => {
  const names = new Map([['8:0', '/dev/sda']]);
  t.strictSame(parseBlkio('8:0 17\nTotal 17\n8:x Read 1\n\n', names), [
    { op: '', device: '/dev/sda', major: 8n, minor: 0n, value: 17n },
  ]);
  t.strictSame(parseIo('8:0\n8:0 rbytes=x\ngarbage\n'), [
    { major: 8n, minor: 0n, rbytes: 0n, wbytes: 0n, rios: 0n, wios: 0n },
  ]);
  t.strictSame(parsePsi('some avg10=a avg60=b\n'), { some: undefined, full: undefined });
  t.strictSame(parseRdma('mlx4_0 hca_handle=2 hca_object=max\nbad\n'), [
    { device: 'mlx4_0', hcaHandles: 2, hcaObjects: 2 ** 32 - 1 },
  ]);
  t.end();
});
