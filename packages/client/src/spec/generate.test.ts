import t from 'tap';
import { parseSpec } from '@gantry/oci';
import { mergeEnvironment } from './environment.ts';
import { generateExecProcess, generateSpec } from './generate.ts';
import type { SpecOptions } from './generate.ts';
import { effectiveCapabilities } from './privileged.ts';

const base: SpecOptions = {
  id: 'web',
  namespace: 'ns',
  image: { env: ['PATH=/bin', 'A=1'], entrypoint: ['/entry'], cmd: ['serve'], workingDir: '/srv', user: '' },
  user: { uid: 5, gid: 6, additionalGids: [6, 7] },
};

t.test('what is generated is a runtime spec that our own parser takes', (t) => {
  const spec = generateSpec({ ...base, memoryBytes: 1 << 26, cpus: 1.5, hostname: 'h', terminal: true });
  t.same(parseSpec(JSON.stringify(spec)), JSON.parse(JSON.stringify(spec)));
  t.end();
});

t.test('the image fills in what the caller leaves open', (t) => {
  const { process } = generateSpec(base);
  t.same(process?.args, ['/entry', 'serve']);
  t.equal(process?.cwd, '/srv');
  t.same(process?.env, ['PATH=/bin', 'A=1']);
  t.same(process?.user, { uid: 5, gid: 6, additionalGids: [6, 7] });
  t.equal(process?.noNewPrivileges, true);
  t.end();
});

t.test('arguments replace the command and keep the entrypoint; an entrypoint drops both', (t) => {
  t.same(generateSpec({ ...base, args: ['x', 'y'] }).process?.args, ['/entry', 'x', 'y']);
  t.same(generateSpec({ ...base, entrypoint: ['sh'] }).process?.args, ['sh']);
  t.same(generateSpec({ ...base, entrypoint: [], args: ['ls'] }).process?.args, ['ls']);
  t.end();
});

t.test('an image without PATH gets the usual one, a terminal adds TERM', (t) => {
  const image = { ...base.image, env: [] };
  const { process } = generateSpec({ ...base, image, terminal: true, terminalSize: { columns: 80, rows: 25 } });
  t.match(process?.env, [/^PATH=\/usr\/local\/sbin:/, 'TERM=xterm']);
  t.same(process?.consoleSize, { height: 25, width: 80 });
  t.end();
});

t.test('limits become cgroup resources', (t) => {
  const { linux } = generateSpec({ ...base, memoryBytes: 67108864, cpus: 0.5 });
  t.equal(linux?.cgroupsPath, '/ns/web');
  t.same(linux?.resources?.memory, { limit: 67108864 });
  t.same(linux?.resources?.cpu, { quota: 50000, period: 100000 });
  t.same(linux?.resources?.devices, [{ allow: false, access: 'rwm' }]);
  t.end();
});

t.test('the host network is the absence of a network namespace, and brings the resolver files', (t) => {
  const types = (network: 'none' | 'host') => generateSpec({ ...base, network }).linux?.namespaces?.map((n) => n.type);
  t.same(types('none'), ['pid', 'ipc', 'uts', 'mount', 'network']);
  t.same(types('host'), ['pid', 'ipc', 'uts', 'mount']);
  const destinations = generateSpec({ ...base, network: 'host' }).mounts?.map((mount) => mount.destination);
  t.ok(destinations?.includes('/etc/resolv.conf'));
  t.end();
});

t.test('a mount of the caller replaces a default one on the same destination', (t) => {
  const mine = { destination: '/run', type: 'bind', source: '/x', options: ['rbind'] };
  const mounts = generateSpec({ ...base, mounts: [mine] }).mounts ?? [];
  t.same(
    mounts.filter((mount) => mount.destination === '/run'),
    [mine],
  );
  t.same(mounts.at(-1), mine);
  t.end();
});

t.test('system calls are filtered unless somebody says otherwise', (t) => {
  t.equal(generateSpec(base).linux?.seccomp?.defaultAction, 'SCMP_ACT_ERRNO');
  t.equal(generateSpec({ ...base, seccomp: false }).linux?.seccomp, undefined);
  t.end();
});

t.test('a privileged container gets what the host has, and no masks', (t) => {
  const privileged = { capabilities: ['CAP_SYS_ADMIN'], devices: [] };
  const { process, linux, mounts } = generateSpec({ ...base, privileged });
  t.same(process?.capabilities?.effective, ['CAP_SYS_ADMIN']);
  t.equal(process?.noNewPrivileges, false);
  t.same(linux?.maskedPaths, []);
  t.equal(linux?.seccomp, undefined);
  t.same(linux?.resources?.devices, [{ allow: true, access: 'rwm' }]);
  t.notOk(mounts?.find((mount) => mount.destination === '/sys')?.options?.includes('ro'));
  t.end();
});

t.test('an exec inherits identity, environment and directory, and its own wishes win', (t) => {
  const spec = generateSpec({ ...base, terminal: true, terminalSize: { columns: 1, rows: 1 } });
  const plain = generateExecProcess(spec, { args: ['ls'] });
  t.same(plain.args, ['ls']);
  t.equal(plain.cwd, '/srv');
  t.equal(plain.terminal, false);
  t.equal(plain.consoleSize, undefined);
  t.same(plain.user, spec.process?.user);
  t.same(plain.capabilities, spec.process?.capabilities);
  const other = generateExecProcess(spec, {
    args: ['ls'],
    workdir: '/',
    env: ['A=2'],
    user: { uid: 0, gid: 0, additionalGids: [0] },
  });
  t.equal(other.cwd, '/');
  t.ok(other.env?.includes('A=2') && !other.env.includes('A=1'));
  t.equal(other.user.uid, 0);
  t.end();
});

t.test('environments are merged by name: replaced in place, added at the end, removed without a value', (t) => {
  t.same(mergeEnvironment(['A=1', 'B=2', 'A=3'], ['B=4', 'C=5', 'A']), ['B=4', 'C=5']);
  t.end();
});

t.test('capabilities are read from the bit mask of the kernel', (t) => {
  t.same(effectiveCapabilities('Name:\tx\nCapEff:\t0000000000000021\n'), ['CAP_CHOWN', 'CAP_KILL']);
  t.end();
});
