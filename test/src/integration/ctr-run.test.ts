/** Debian's ctr runs containers: the same commands on containerd + runc and on gantryd, compared. */
import t from 'tap';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { comparer, imageName, missing, Pair } from '../index.ts';

const skip = missing('ctr', 'containerd', 'runc', 'script') ?? false;

t.setTimeout(300_000);
t.test('ctr run gives the same container', { skip, timeout: 300_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();
  await pair.both(['images', 'import', pair.archive]);

  const shell = (script: string, ...flags: string[]): string[] => [
    'run',
    '--rm',
    ...flags,
    imageName,
    'c',
    'sh',
    '-c',
    script,
  ];

  t.test('what the process sees of itself', async (t) => {
    const same = comparer(t, pair);
    await same(['run', '--rm', imageName, 'c', 'id']);
    await same(shell('echo $$; hostname | wc -c; pwd; env | sort'));
    await same(shell('grep -E "^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Umask|SigBlk|SigCgt)" /proc/self/status'));
    await same(shell('cat /proc/self/limits'));
    await same(shell('ls -l /proc/self/fd | wc -l; ls /proc/self/fd'));
    await same(shell('cat /proc/self/oom_score_adj; cat /proc/self/setgroups'));
    await same(shell('cat /proc/1/cmdline | tr "\\\\0" " "'));
  });

  t.test('what it sees of its file systems', async (t) => {
    const same = comparer(t, pair);
    const kinds = 'awk \'{ for (i = 7; $i != "-"; i++); print $5, $6, $(i+1) }\' /proc/self/mountinfo';
    await same(shell(kinds));
    await same(shell('ls -ln /dev /dev/fd /dev/stdin 2>&1 | awk \'{$6=$7=$8=""; print}\''), {
      normalize: (text) => text.replaceAll(/pts\/\d+/g, 'pts/N'),
    });
    await same(shell('stat -c "%a %u %g %F" /dev/shm /dev/pts /dev/mqueue /run /proc /sys /tmp'));
    await same(
      shell('cat /proc/kcore | head -c1; ls /proc/acpi; cat /proc/keys | wc -c; echo x > /proc/sys/kernel/hostname'),
    );
    await same(shell('echo x > /file && cat /file; mkdir /d && rm -r /d'));
    await same(shell('echo x > /file', '--read-only'));
    await same(
      shell(
        'echo 1 > /sys/kernel/x; mknod /dev/y c 1 3 && echo > /dev/y; mknod /dev/kmsg c 1 11 && head -c1 /dev/kmsg',
      ),
    );
  });

  t.test('flags of ctr run', async (t) => {
    const same = comparer(t, pair);
    const data = path.join(pair.dir, 'data');
    mkdirSync(data);
    writeFileSync(path.join(data, 'file'), 'from the host\n');
    await same(shell('echo $A-$B', '--env', 'A=1', '--env', 'B=two words'));
    await same(
      shell('cat /data/file; echo x > /data/no', '--mount', `type=bind,src=${data},dst=/data,options=rbind:ro`),
    );
    await same(shell('pwd', '--cwd', '/tmp'));
    await same(shell('id; pwd', '--user', '1000'));
    await same(shell('id', '--user', 'web'));
    await same(shell('id', '--user', '1000:2000'));
    await same(shell('hostname', '--hostname', 'chosen'));
    await same(shell('ls /sys/class/net | wc -l; cat /proc/net/dev | wc -l', '--net-host'));
    await same(shell('ip addr show lo | head -2'));
    await same(shell('cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>&1', '--memory-limit', '67108864'));
    await same(
      shell('grep CapEff /proc/self/status; ls -d /dev/null; mount -t tmpfs t /tmp && echo mounted', '--privileged'),
    );
    await same(shell('echo cpus', '--cpus', '0.5'));
    await same(shell('echo seccomp; grep -w Seccomp /proc/self/status', '--seccomp'));
    await same(shell('echo quota', '--cpu-quota', '50000', '--cpu-period', '100000'));
    await same(shell('echo rootfs', '--snapshotter', 'native'));
    await same(shell('true', '--runtime', 'io.containerd.nothing.v1'));
    await same(['run', '--rm', '--no-pivot', imageName, 'c', 'echo', 'no pivot']);
    await same((side) => ['run', '--rm', '--pid-file', path.join(side.dir, 'pid'), imageName, 'c', 'true']);
    await same(['run', '--rm', '--cgroup', '', imageName, 'c', 'echo', 'no cgroup path']);
    await same(['run', '--rm', '--null-io', imageName, 'c', 'echo', 'unheard']);
    await same((side) => ['run', '--rm', '--log-uri', `file://${side.dir}/log/out`, imageName, 'c', 'echo', 'logged']);
  });

  t.test('exit codes and failures', async (t) => {
    const same = comparer(t, pair);
    for (const code of [0, 1, 7, 255]) await same(shell(`exit ${code}`));
    await same(shell('kill -9 $$; sleep 1'));
    await same(['run', '--rm', imageName, 'c', 'no-such-program'], { normalize: reason });
    await same(['run', '--rm', imageName, 'c', '/etc/passwd'], { normalize: reason });
    await same(['run', '--rm', 'docker.io/library/none:v1', 'c', 'true']);
    await same(['run', '--rm', imageName, 'bad id!', 'true']);
    await same(shell('true', '--cwd', '/etc/passwd'), { normalize: reason });
    await same(['containers', 'ls']);
    await pair.collectGarbage();
    await same(['snapshots', 'ls']);
    await same(['tasks', 'ls']);
  });

  t.test('streams', async (t) => {
    const same = comparer(t, pair);
    await same(shell('read line; echo got $line'), { input: 'through standard input\n' });
    await same(shell('echo out; echo err >&2'));
    await same(shell('seq 1 200000 | tail -n 1; seq 1 100000'), { timeoutMs: 60_000 });
    await same(shell('sleep 30 & echo parent is gone'));
    // ctr resizes the terminal once the container runs, and complains when it has ended by then.
    await same(shell('tty; stty size; echo out; echo err >&2; sleep 0.3; exit 3', '-t'), { terminal: true });
    await same(['run', '--rm', '-t', imageName, 'c', 'sh'], {
      terminal: true,
      input: 'echo typed $((6*7))\nexit 5\n',
      // What is typed before the shell reads is echoed by one terminal or by two, as it happens.
      normalize: (text) => /typed 42/.exec(text)?.[0] ?? text,
    });
  });

  t.test('nothing is left on the host', async (t) => {
    t.same(await pair.stop(), []);
  });
});

/** The runtimes word the reason of a failed start each in their own way; the sentence before it is the contract. */
function reason(text: string): string {
  return text.replaceAll(/OCI runtime create failed: .*/g, 'OCI runtime create failed: REASON');
}
