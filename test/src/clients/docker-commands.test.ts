/**
 * Debian's docker engine on gantryd: each command goes to an engine on a stock containerd with runc as well, and both must
 * print the same and exit the same.
 */
import t from 'tap';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DockerPair, missing, missingDocker } from '../index.ts';

const skip = missingDocker() ?? missing('script') ?? false;
const state = '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.RestartCount}} {{.State.Error}}';

t.setTimeout(300_000);
t.test('docker commands do the same on gantryd as on containerd', { skip, timeout: 280_000 }, async (t) => {
  const pair = new DockerPair(['--add-runtime', 'other=/usr/sbin/runc']);
  await pair.start();
  const docker = pair.comparer(t);
  const inspect = (id: string) => docker(['inspect', '--format', state, id]);
  const sh = (...words: string[]) =>
    docker(['run', '--rm', ...words.slice(0, -1), 'box', 'sh', '-c', words.at(-1) ?? '']);

  await t.test('in the foreground: output, exit statuses, streams, terminals', async () => {
    await sh('echo out; echo err >&2; exit 7');
    await sh('kill -9 $$');
    await docker(['run', '--rm', '-i', 'box', 'cat'], { input: 'through\n' });
    await docker(['run', '--rm', '-it', 'box', 'sh', '-c', 'tty; exit 3'], { terminal: true });
    await docker(['run', '--rm', 'box', 'no-such-program']);
    await docker(['run', '--rm', 'box', '/etc/passwd']);
    await docker(['run', '--rm', '--entrypoint', '/bin/false', 'box']);
    await docker(['run', '--rm', '--user', 'nobody', 'box', 'true']);
    await docker(['create', '--name', 'made', 'box', 'sh', '-c', 'echo made; exit 2']);
    await docker(['start', '--attach', 'made']);
    await docker(['start', '--attach', 'made']);
    await docker(['rm', 'made']);
  });

  await t.test('one container: exec, top, stats, pause, update, cp, commit, diff, kill, stop, restart', async (t) => {
    await docker(['run', '-d', '--name', 'one', '--hostname', 'one', 'box', 'sleep', '1000']);
    await docker(['ps', '--format', '{{.Names}} {{.Status}} {{.Command}}']);
    await docker(['exec', 'one', 'sh', '-c', 'echo in; echo err >&2; exit 5']);
    await docker(['exec', '-u', '1000:1000', '-e', 'X=1', '-w', '/tmp', 'one', 'sh', '-c', 'id; echo $X; pwd']);
    await docker(['exec', '-i', 'one', 'cat'], { input: 'through\n' });
    await docker(['exec', '-it', 'one', 'sh', '-c', 'tty; exit 9'], { terminal: true });
    await docker(['exec', 'one', 'no-such-program']);
    await docker(['exec', '-w', '/no/such/place', 'one', 'true']);
    await docker(['exec', '-d', 'one', 'touch', '/tmp/detached']);
    await pair.bothUntil(/detached/, ['exec', 'one', 'ls', '/tmp']);
    const top = await pair.ours.must('top', 'one', '-o', 'pid,comm');
    t.match(top, /^PID +COMMAND\n\d+ +sleep$/);
    await docker(['stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'one']);
    await docker(['pause', 'one']);
    await docker(['pause', 'one']);
    await docker(['ps', '--format', '{{.Status}}']);
    await docker(['exec', 'one', 'true']);
    await docker(['unpause', 'one']);
    await docker(['update', '--memory', '100m', '--memory-swap', '200m', '--cpus', '0.5', 'one']);
    const limits = ['memory/memory.limit_in_bytes', 'cpu/cpu.cfs_quota_us'].map((file) => `/sys/fs/cgroup/${file}`);
    await docker(['exec', 'one', 'cat', ...limits]);
    writeFileSync(path.join(pair.dir, 'given'), 'given\n');
    await docker(['cp', path.join(pair.dir, 'given'), 'one:/tmp/given']);
    await docker(['exec', 'one', 'cat', '/tmp/given']);
    await docker(['cp', 'one:/etc/passwd', '-'], {});
    await docker(['diff', 'one']);
    await docker(['commit', 'one', 'two']);
    await docker(['run', '--rm', 'two', 'cat', '/tmp/given']);
    await docker(['kill', '--signal', 'USR1', 'one']);
    await inspect('one');
    await docker(['restart', '--time', '0', 'one']);
    await docker(['stop', '--time', '0', 'one']);
    await inspect('one');
    await docker(['start', 'one']);
    await docker(['kill', 'one']);
    await docker(['kill', 'one']);
    await docker(['wait', 'one']);
    await inspect('one');
    await docker(['rm', 'one']);
  });

  await t.test('what a container is given: limits, users, devices, mounts, namespaces', async () => {
    await sh(
      '-m',
      '16m',
      '--cpuset-cpus',
      '0',
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpuset/cpuset.cpus',
    );
    await sh(
      '--cpus',
      '0.5',
      '--cpu-shares',
      '512',
      '--pids-limit',
      '50',
      'cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max',
    );
    await sh(
      '--user',
      '12:34',
      '--group-add',
      '5',
      '--read-only',
      '--tmpfs',
      '/run',
      'id; touch /x; touch /run/x && echo ok',
    );
    await sh(
      '--cap-drop',
      'ALL',
      '--cap-add',
      'NET_ADMIN',
      '--security-opt',
      'no-new-privileges',
      'grep -E "Cap|Sec|NoN" /proc/self/status',
    );
    await sh('--privileged', 'true');
    await sh('--security-opt', 'seccomp=unconfined', 'grep Seccomp /proc/self/status');
    await sh(
      '--ulimit',
      'nofile=100:200',
      '--sysctl',
      'net.ipv4.ip_forward=1',
      'ulimit -n; cat /proc/sys/net/ipv4/ip_forward',
    );
    await sh(
      '--device',
      '/dev/null:/dev/other',
      '--shm-size',
      '32m',
      '--oom-score-adj',
      '500',
      'ls -l /dev | cut -c1-44; df /dev/shm; cat /proc/self/oom_score_adj',
    );
    await sh('--init', 'ps | head -2');
    await sh('--pid', 'host', '--ipc', 'host', '--uts', 'host', '--network', 'host', 'hostname');
    await sh('--network', 'none', 'ls /sys/class/net');
    await sh(
      '--env',
      'A=b',
      '--dns',
      '192.0.2.4',
      '--add-host',
      'other:192.0.2.1',
      'env | grep -v HOSTNAME | sort; grep other /etc/hosts; grep name /etc/resolv.conf',
    );
    await sh('cat /proc/self/cgroup');
    await sh('--volume', 'kept:/data', 'echo v > /data/f');
    const host = path.join(pair.dir, 'host');
    mkdirSync(host);
    writeFileSync(path.join(host, 'f'), 'host\n');
    await sh('--volume', 'kept:/data:ro', '--volume', `${host}:/dev/host:ro`, 'cat /data/f /dev/host/f; touch /data/g');
    await docker(['volume', 'rm', 'kept']);
    await docker(['run', '-d', '--name', 'donor', '--ipc', 'shareable', '--hostname', 'donor', 'box', 'sleep', '1000']);
    await sh(
      '--network',
      'container:donor',
      '--pid',
      'container:donor',
      '--ipc',
      'container:donor',
      'hostname; ps | grep -c "sleep 1000$"',
    );
    await docker(['rm', '--force', 'donor']);
  });

  await t.test('ends: restart policies, health checks, stop signals, out of memory, logs, attach', async (t) => {
    await docker(['run', '-d', '--name', 'again', '--restart', 'on-failure:2', 'box', 'sh', '-c', 'exit 3']);
    await docker([
      'run',
      '-d',
      '--name',
      'well',
      '--health-cmd',
      'echo fine',
      '--health-interval',
      '1s',
      'box',
      'sleep',
      '1000',
    ]);
    await docker(['run', '--name', 'big', '-m', '8m', '--memory-swap', '8m', 'box', 'tail', '/dev/zero']);
    // Only ours: whether dockerd hears of it before the exit is a race on containerd.
    const killed = await pair.ours.must('inspect', '--format', '{{.State.OOMKilled}} {{.State.ExitCode}}', 'big');
    t.equal(killed, 'true 137');
    const polite = 'trap "echo told; exit 4" TERM; echo ready; while :; do sleep 0.1; done';
    await docker(['run', '-d', '--name', 'polite', 'box', 'sh', '-c', polite]);
    await pair.bothUntil(/ready/, ['logs', 'polite']);
    await docker(['stop', 'polite']);
    await docker(['logs', 'polite']);
    await inspect('polite');
    await docker(['run', '-d', '-i', '--name', 'asked', 'box', 'sh', '-c', 'echo first; read x; echo got $x; exit 6']);
    await pair.bothUntil(/exited 3 false 2/, ['inspect', '--format', state, 'again']);
    await pair.bothUntil(/^healthy/, ['inspect', '--format', '{{.State.Health.Status}}', 'well']);
    await pair.ours.docker(['attach', 'asked'], { input: 'word\n' });
    await pair.stock.docker(['attach', 'asked'], { input: 'word\n' });
    await docker(['wait', 'asked']);
    await docker(['logs', '--tail', '1', 'asked']);
    await docker(['logs', '--timestamps', 'asked']);
    await docker(['rm', '--force', 'again', 'well', 'big', 'polite', 'asked']);
  });

  await t.test('images built, networks, ports, runtimes by name, events', async () => {
    const context = path.join(pair.dir, 'context');
    mkdirSync(context);
    const lines = [
      'FROM box',
      'ENV A=1',
      'RUN echo built > /built && mkdir /sub',
      'COPY Dockerfile /sub/',
      'WORKDIR /sub',
      'USER 1000',
      'CMD ["sh","-c","cat /built; pwd; id -u"]',
    ];
    writeFileSync(path.join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await docker(['build', '--quiet', '--tag', 'built', context], { env: { DOCKER_BUILDKIT: '0' } });
    await docker(['run', '--rm', 'built']);
    await docker(['history', '--format', '{{.CreatedBy}} {{.Size}}', 'built']);
    const serve = 'while :; do echo hi | nc -l -p 80; done';
    await docker(['network', 'create', 'net']);
    await docker(['run', '-d', '--name', 'web', '--network', 'net', '--publish', '8080:80', 'box', 'sh', '-c', serve]);
    await docker(['port', 'web']);
    await sh('--network', 'net', 'until nc web 80 </dev/null; do sleep 0.1; done');
    await docker(['rm', '--force', 'web']);
    await docker(['network', 'rm', 'net']);
    await docker(['run', '--rm', '--runtime', 'io.containerd.runc.v2', 'box', 'echo', 'by name']);
    await docker(['run', '--rm', '--runtime', 'other', 'box', 'sh', '-c', 'echo by another; exit 3']);
    await docker(['run', '--rm', '-it', '--runtime', 'other', 'box', 'tty'], { terminal: true });
    await docker(['run', '--rm', '--runtime', 'io.containerd.nobody.v1', 'box', 'true']);
    await docker(['info', '--format', '{{.DefaultRuntime}} {{.Driver}} {{.CgroupDriver}} {{.CgroupVersion}}']);
    await docker(['run', '--rm', '--name', 'seen', 'box', 'sh', '-c', 'exit 3']);
    const events = ['events', '--since', '10m', '--until', '0s', '--filter', 'container=seen'];
    await pair.bothUntil(/destroy/, events);
    await docker([...events, '--format', '{{.Action}} {{.Actor.Attributes.exitCode}}']);
  });

  await t.test('a swarm of one node runs a service', async () => {
    await Promise.all([pair.stock, pair.ours].map((one) => one.must('swarm', 'init', '--advertise-addr', '127.0.0.1')));
    const service = ['service', 'create', '--detach', '--quiet', '--name', 'serves', '--replicas', '2', 'box'];
    await Promise.all([pair.stock, pair.ours].map((one) => one.must(...service, 'sleep', '1000')));
    await pair.bothUntil(/^serves 2\/2$/m, ['service', 'ls', '--format', '{{.Name}} {{.Replicas}}']);
    await docker(['service', 'scale', '--detach', 'serves=1']);
    await pair.bothUntil(/^serves 1\/1$/m, ['service', 'ls', '--format', '{{.Name}} {{.Replicas}}']);
    await docker(['service', 'rm', 'serves']);
    await docker(['swarm', 'leave', '--force']);
  });

  t.same(await pair.stop(), [], 'nothing is left on the host');
});
