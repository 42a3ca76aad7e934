/**
 * Control groups by systemd: the same containers by runc and by gantry-runtime, compared by what systemd says of their
 * units. Runs where systemd is the first process and cgroup v2 is all there is: see test/vm.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { missing, RuntimeBench, sentences, until } from '../index.ts';
import type { RuntimeName, TestSpec } from '../index.ts';

const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
const skip =
  missing('systemctl', 'busybox') ??
  (existsSync('/run/systemd/system') && unified ? false : 'needs a host with systemd and cgroup v2 alone; see test/vm');
const names = (['runc', 'gantry'] as const).filter((name) => name === 'gantry' || missing('runc') === undefined);
/** Longer than the whole machine may take: what is only slow is not a failure. */
const slowMs = 240_000;

t.setTimeout(slowMs * 5);

/** Of the properties of a unit those that a container's configuration decides. */
const asked = [
  'Slice',
  'Delegate',
  'MemoryMax',
  'MemoryLow',
  'CPUQuotaPerSecUSec',
  'CPUQuotaPeriodUSec',
  'TasksMax',
  'AllowedCPUs',
  'DevicePolicy',
  'DeviceAllow',
  'MemoryAccounting',
  'TasksAccounting',
  'TimeoutStopUSec',
];

function show(unit: string, properties: readonly string[]): Record<string, string> {
  const { stdout } = spawnSync('systemctl', ['show', unit, '-p', properties.join(',')], { encoding: 'utf8' });
  const shown: Record<string, string> = {};
  for (const line of stdout.trim().split('\n').toSorted()) {
    const [, name = '', value = ''] = /^([^=]*)=(.*)$/.exec(line) ?? [];
    // A list has a line for each member.
    shown[name] = name in shown ? `${shown[name]}, ${value}` : value;
  }
  return shown;
}

const unitOf = (name: RuntimeName): string => `gt-${name}.scope`;
const groupOf = (name: RuntimeName): string => `/gantry.slice/gantry-vm.slice/${unitOf(name)}`;
const groupFile = (name: RuntimeName, file: string): string =>
  readFileSync(path.join('/sys/fs/cgroup', groupOf(name), file), 'utf8').trim();

function call(bench: RuntimeBench, name: RuntimeName, words: readonly string[], detached = false) {
  const all = ['--systemd-cgroup', ...words];
  return detached ? bench.callDetached(name, all, { timeoutMs: slowMs }) : bench.call(name, all, { timeoutMs: slowMs });
}

function start(bench: RuntimeBench, name: RuntimeName, args: readonly string[], change: (spec: TestSpec) => void) {
  bench.configure(
    bench.spec(args, (spec) => {
      spec.linux.cgroupsPath = `gantry-vm.slice:gt:${name}`;
      change(spec);
    }),
  );
  return call(bench, name, ['run', '-d', 'box'], true);
}

t.test('a container is a scope with the limits of its configuration, as runc’s', { skip }, async (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  for (const name of names) {
    const { code, stderr } = start(bench, name, ['sleep', '1000'], (spec) => {
      spec.annotations = { 'org.systemd.property.TimeoutStopUSec': 'uint64 7000000' };
      spec.linux.resources = {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c', major: 1, minor: 11, access: 'r' },
        ],
        memory: { limit: 64 << 20, reservation: 32 << 20 },
        cpu: { quota: 33_333, period: 100_000, cpus: '0' },
        pids: { limit: 42 },
      };
    });
    t.equal(code, 0, `${name}: ${stderr}`);
  }
  const shown = names.map((name) => show(unitOf(name), asked));
  const own = shown.at(-1) ?? {};
  t.match(own, {
    Slice: 'gantry-vm.slice',
    Delegate: 'yes',
    MemoryMax: String(64 << 20),
    TasksMax: '42',
    AllowedCPUs: '0',
    CPUQuotaPerSecUSec: '340ms',
    DevicePolicy: 'strict',
    TimeoutStopUSec: '7s',
  });
  t.match(own['DeviceAllow'], /(?:^|, )\/dev\/char\/1:11 r(?:,|$)/);
  // Runc leaves out devices that this host does not have.
  if (shown.length > 1) t.same({ ...shown[1], DeviceAllow: '' }, { ...shown[0], DeviceAllow: '' }, 'as runc’s unit');

  const files = ['memory.max', 'memory.low', 'pids.max', 'cpuset.cpus'];
  const values = names.map((name) => files.map((file) => `${file} ${groupFile(name, file)}`));
  if (values.length > 1) t.same(values[1], values[0], 'and its group');
  t.match(values.at(-1), ['memory.max 67108864', 'memory.low 33554432', 'pids.max 42']);
  // What systemd keeps, which is a multiple of a hundredth of a CPU.
  t.equal(groupFile('gantry', 'cpu.max'), '34000 100000');

  const pid = JSON.parse(call(bench, 'gantry', ['state', 'box']).stdout).pid as number;
  t.equal(readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim(), `0::${groupOf('gantry')}`);
  const added = call(bench, 'gantry', [
    'exec',
    'box',
    'sh',
    '-c',
    'cat /sys/fs/cgroup/pids.max; cat /proc/self/cgroup',
  ]);
  t.equal(added.code, 0, added.stderr);
  t.match(added.stdout, groupOf('gantry'), 'an exec is in the scope');

  t.equal(call(bench, 'gantry', ['update', '--memory', '80m', '--pids-limit', '50', 'box']).code, 0);
  t.match(show(unitOf('gantry'), asked), { MemoryMax: String(80 << 20), TasksMax: '50', AllowedCPUs: '0' });
  t.equal(spawnSync('systemctl', ['daemon-reload']).status, 0);
  t.same([groupFile('gantry', 'memory.max'), groupFile('gantry', 'pids.max')], [String(80 << 20), '50']);

  t.equal(call(bench, 'gantry', ['pause', 'box']).code, 0);
  t.match(call(bench, 'gantry', ['state', 'box']).stdout, /"paused"/);
  t.equal(call(bench, 'gantry', ['resume', 'box']).code, 0);
  for (const name of names) {
    t.equal(call(bench, name, ['delete', '--force', 'box']).code, 0, name);
    await until('the unit is gone', () => show(unitOf(name), ['ActiveState'])['ActiveState'] === 'inactive', slowMs);
    t.notOk(existsSync(path.join('/sys/fs/cgroup', groupOf(name))), name);
  }
});

t.test('limits are kept by the kernel: memory, devices', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(
    bench.spec(['sh', '-c', 'mknod /tmp/m c 1 11; head -c 1 /tmp/m 2>&1; tail /dev/zero'], (spec) => {
      spec.linux.cgroupsPath = 'gantry-vm.slice:gt:gantry';
      spec.linux.resources = { devices: [{ allow: false, access: 'rwm' }], memory: { limit: 16 << 20 } };
    }),
  );
  const { code, stdout } = call(bench, 'gantry', ['run', 'eater']);
  t.equal(code, 137);
  t.match(stdout, /Operation not permitted/);
  t.equal(show(unitOf('gantry'), ['ActiveState'])['ActiveState'], 'inactive');
  t.end();
});

t.test('what fails leaves no unit, and a path of another form is refused as by runc', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  t.not(start(bench, 'gantry', ['/no/such/program'], () => undefined).code, 0);
  t.equal(show(unitOf('gantry'), ['ActiveState'])['ActiveState'], 'inactive');
  t.notOk(existsSync(path.join('/sys/fs/cgroup', groupOf('gantry'))));
  const refused = names.map((name) => {
    bench.configure(bench.spec(['true'], (spec) => (spec.linux.cgroupsPath = '/some/path')));
    const { code, stderr } = call(bench, name, ['run', 'box']);
    return [code, sentences(stderr).map((line) => /expected cgroupsPath[^,]*/.exec(line)?.[0])];
  });
  for (const one of refused) t.same(one, refused[0]);
  t.match(refused[0], [1, [/slice:prefix:name/]]);
  t.end();
});
