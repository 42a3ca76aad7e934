/** The flags of Debian's ctr that containers are made and run with, on containerd + runc and on gantryd, compared. */
import t from 'tap';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { comparer, imageName, missing, Pair, run, until } from '../index.ts';
import type { Side } from '../index.ts';

const skip = missing('ctr', 'containerd', 'runc', 'busybox', 'unshare') ?? false;
const pids = (text: string): string => text.replaceAll(/\b\d{2,7}\b/g, 'PID');

t.setTimeout(300_000);
t.test("ctr's flags do the same", { skip, timeout: 300_000 }, async (t) => {
  const pair = new Pair();
  for (const dir of [pair.dir, pair.stock.dir, pair.ours.dir]) chmodSync(dir, 0o755); // for users of user namespaces
  await pair.start();
  await pair.both(['images', 'import', pair.archive]);
  // A run that is refused leaves its snapshot to the garbage collection: each has a name of its own.
  let runs = 0;
  const shell = (script: string, ...flags: string[]): string[] => [
    'run',
    '--rm',
    ...flags,
    imageName,
    `c${(runs += 1)}`,
    'sh',
    '-c',
    script,
  ];
  const status = '/proc/self/status';

  await t.test('of what the process may', async (t) => {
    const same = comparer(t, pair);
    await same(shell(`grep Cap ${status}`, '--cap-add', 'CAP_SYS_ADMIN', '--cap-add', 'CAP_NET_ADMIN'));
    await same(shell(`grep Cap ${status}`, '--cap-drop', 'CAP_CHOWN', '--cap-drop', 'CAP_KILL'));
    await same(shell(`grep Cap ${status}`, '--cap-add', 'NO_SUCH'));
    await same(shell(`grep NoNewPrivs ${status}`, '--allow-new-privs'));
    const profile = path.join(pair.dir, 'seccomp.json');
    const rule = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 };
    writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] }));
    await same(shell('mkdir /d; echo $?', '--seccomp', '--seccomp-profile', profile));
    await same(shell('true', '--seccomp-profile', profile));
    await same(shell('true', '--seccomp', '--seccomp-profile', '/no/such/profile'));
    await same(shell('echo confined', '--apparmor-profile', 'no-such-profile'), { normalize: reason });
    await same(shell('echo none', '--apparmor-default-profile', ''));
  });

  await t.test('of what it sees', async (t) => {
    const same = comparer(t, pair);
    const env = path.join(pair.dir, 'env');
    writeFileSync(env, 'FROM_FILE=1\n# a comment\nHOME=/else\n');
    await same(shell('env | grep -E "FROM_FILE|HOME"', '--env-file', env));
    await same(shell('true', '--env-file', '/no/such/file'));
    await same(shell('ls -l /dev/fuse /dev/full | cut -c1-10', '--device', '/dev/full'));
    await same(shell('true', '--device', '/no/such/device'), { normalize: reason });
    await same(
      shell('grep -E " / / .*(shared|master)" /proc/self/mountinfo | wc -l', '--rootfs-propagation', 'rslave'),
    );
    await same(shell('true', '--rootfs-propagation', 'sideways'), { normalize: reason });
    await same(shell('cat /proc/self/uid_map | tr -s " "', '--uidmap', '0:1000:10000', '--gidmap', '0:1000:10000'));
    const mapped = ['--uidmap', '0:1000:10000', '--gidmap', '0:1000:10000', '--remap-labels'];
    await same(shell('id -u; stat -c "%u %g" /bin/busybox', ...mapped, '--snapshotter', 'native'));
    await same(shell('true', '--uidmap', 'not a map', '--gidmap', '0:1000:1'));
    await same(shell('readlink /proc/self/ns/net | cut -c1-4', '--with-ns', `network:/proc/${process.pid}/ns/net`));
    await same(shell('true', '--with-ns', 'network:/no/such/ns'), { normalize: reason });
    await same(shell('true', '--with-ns', 'nothing'));
    await same(shell('echo here', '--platform', 'linux/amd64'));
    await same(shell('echo here', '--platform', 'linux/riscv64'));
    await same(shell('true', '--gpus', '0'), { normalize: reason });
  });

  await t.test('of its resources and its runtime', async (t) => {
    const same = comparer(t, pair);
    await same(shell('cat /sys/fs/cgroup/cpu/cpu.shares 2>&1', '--cpu-shares', '512'));
    await same(shell('echo by runc', '--runc-binary', 'runc'));
    const gone = (text: string): string => text.replace(/: .*no such (program|file).*/, ': GONE');
    await same(shell('true', '--runc-binary', '/no/such/runc'), { normalize: gone });
    await same((side) => shell('echo rooted', '--runc-root', path.join(side.dir, 'runc-root')));
    await same(shell('true', '--runtime-config-path', '/no/such/config'));
    await same((side) => ['run', '-d', '--fifo-dir', path.join(side.dir, 'fifos'), imageName, 'f', 'sleep', '1000']);
    await same(['tasks', 'rm', '-f', 'f']);
    await same(['containers', 'rm', 'f']);
    await same(shell('true', '--cni'), { normalize: (text) => (text.includes('cni') ? 'no network' : text) });
  });

  await t.test('of its record', async (t) => {
    const same = comparer(t, pair);
    const info = (text: string): string => text.replaceAll(/"hostname": ".*"/g, '');
    const labels = ['--label', 'a=b', '--label', 'c=d e', '--annotation', 'one=two'];
    await same(['containers', 'create', ...labels, '--snapshotter-label', 'x=y', imageName, 'l1', 'true']);
    await same(['containers', 'info', 'l1'], { normalize: info });
    await same(['containers', 'info', '--spec', 'l1'], { normalize: info });
    await same(['snapshots', 'info', 'l1']);
    await same(['containers', 'create', imageName, 'l1', 'true']);
    await same(['containers', 'create', '--label', 'bad', imageName, 'l2', 'true']);
    await same(['containers', 'rm', '--keep-snapshot', 'l1']);
    await pair.collectGarbage(); // nobody has it any more
    await same(['snapshots', 'rm', 'l1']);
    const spec = path.join(pair.dir, 'spec.json');
    const { stdout } = await run('ctr', ['oci', 'spec']);
    const made = JSON.parse(stdout) as { root?: object; process?: object };
    const rootfs = path.join(pair.dir, 'rootfs');
    mkdirSync(path.join(rootfs, 'bin'), { recursive: true });
    copyFileSync((await run('which', ['busybox'])).stdout.trim(), path.join(rootfs, 'bin/sh'));
    made.root = { path: rootfs };
    made.process = { ...made.process, args: ['/bin/sh', '-c', 'echo of a config; exit 3'], terminal: false };
    writeFileSync(spec, JSON.stringify(made));
    await same(['run', '--rm', '--config', spec, 'conf']);
    await same(['run', '--rm', '--config', '/no/such/spec', 'conf']);
    await same(['run', '--rm', '--rootfs', rootfs, 'r', '/bin/sh', '-c', 'echo of a rootfs; exit 4']);
    await same(['run', '--rm', '--rootfs', '/no/such/rootfs', 'r', 'sh'], { normalize: reason });
  });

  await t.test('of tasks', async (t) => {
    const same = comparer(t, pair);
    await same(['containers', 'create', imageName, 't1', 'sleep', '1000']);
    await same((side) => ['tasks', 'start', '-d', '--null-io', '--pid-file', path.join(side.dir, 'pid'), 't1']);
    await same((side) => ['tasks', 'exec', '-d', '--exec-id', 'e1', '--fifo-dir', side.dir, 't1', 'sleep', '1000']);
    await same(['tasks', 'exec', '-d', '--exec-id', 'e1', 't1', 'true']);
    await same((side) => {
      const log = `file://${path.join(side.dir, 'exec.log')}`;
      return ['tasks', 'exec', '-d', '--log-uri', log, '--exec-id', 'e2', 't1', 'echo', 'to a log'];
    });
    for (const side of [pair.stock, pair.ours]) {
      await until(`${side.daemon.name} to log`, async () =>
        (await run('cat', [path.join(side.dir, 'exec.log')])).stdout.includes('to a log'),
      );
    }
    await same(['tasks', 'kill', '--exec-id', 'e1', '-s', 'KILL', 't1']);
    await same(['tasks', 'kill', '--exec-id', 'none', 't1']);
    await same(['tasks', 'kill', '-s', 'NOSUCH', 't1']);
    const ended = async (side: Side, exec: string): Promise<boolean> => {
      const result = await pair.ctr(side, ['tasks', 'rm', '--exec-id', exec, 't1']);
      return result.code === 0 || !result.stderr.includes('running');
    };
    for (const side of [pair.stock, pair.ours]) await until('the exec to end', () => ended(side, 'e1'));
    await same(['tasks', 'rm', '--exec-id', 'none', 't1']);
    const figures = (text: string): string => text.replaceAll(/\d+/g, 'N').replaceAll(/\[[N,]*\]/g, '[]');
    await same(['tasks', 'metrics', '--format', 'json', 't1'], { normalize: (text) => keysOf(figures(text)) });
    await same(['tasks', 'metrics', '--format', 'none', 't1'], { normalize: figures });
    await same(['tasks', 'kill', '--all', '-s', 'KILL', 't1']);
    for (const side of [pair.stock, pair.ours]) {
      await until('the task to stop', async () => (await pair.ctr(side, ['tasks', 'ls'])).stdout.includes('STOPPED'));
    }
    await same(['tasks', 'ls'], { normalize: pids });
    await same(['tasks', 'rm', 't1', 'none']);
    await same(['containers', 'rm', 't1', 'none']);
  });

  await t.test('nothing is left on the host', async (t) => {
    t.same(await pair.stop(), []);
  });
});

/** The objects of a JSON document, by their keys; zeros are left out of them. */
function keysOf(text: string): string {
  return [...text.matchAll(/"(\w+)":\{/g)].map(([, key]) => key).join(' ');
}

/** The runtimes word the reason of a failed start each in their own way; the sentence before it is the contract. */
function reason(text: string): string {
  return text.replaceAll(/OCI runtime create failed: .*/g, 'OCI runtime create failed: REASON');
}
