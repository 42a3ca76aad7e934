/** Debian's ctr on running containers: tasks, execs, events; containerd + runc and gantryd compared. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { comparer, imageName, missing, Pair, until } from '../index.ts';
import type { Side } from '../index.ts';

const skip = missing('ctr', 'containerd', 'runc', 'script') ?? false;
const pids = (text: string): string => text.replaceAll(/\b\d{2,7}\b/g, 'PID');

t.setTimeout(300_000);
t.test('ctr sees the same of a running container', { skip, timeout: 300_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();
  await pair.both(['images', 'import', pair.archive]);

  const status = (side: Side, wanted: string) =>
    until(`${side.daemon.name} to show ${wanted}`, async () =>
      (await pair.ctr(side, ['tasks', 'ls'])).stdout.includes(wanted),
    );

  t.test('a detached container from run to removal', async (t) => {
    const same = comparer(t, pair);
    await same(['run', '-d', imageName, 'c1', 'sh', '-c', 'trap "exit 5" TERM; while true; do sleep 0.1; done']);
    await same(['containers', 'ls']);
    await same(['containers', 'ls', '-q']);
    await same(['containers', 'info', 'c1'], { normalize: (text) => text.replaceAll(/"hostname": ".*"/g, '') });
    await same(['containers', 'label', 'c1', 'color=red'], {
      normalize: (text) => text.trim().split(',').toSorted().join(),
    });
    await same(['containers', 'ls', 'labels.color==red', '-q']);
    await same(['tasks', 'ls'], { normalize: pids });
    await same(['tasks', 'ls', '-q']);
    await same(['tasks', 'exec', '--exec-id', 'e1', 'c1', 'sh', '-c', 'echo in; exit 7']);
    await same(['tasks', 'exec', '--exec-id', 'e2', 'c1', 'no-such-program'], { normalize: reason });
    await same(['tasks', 'exec', '--exec-id', 'e3', '--user', '1000', '--cwd', '/tmp', 'c1', 'sh', '-c', 'id; pwd']);
    await same(['tasks', 'exec', '--exec-id', 'e4', 'c1', 'head', '-n', '1'], { input: 'to exec\n' });
    await same(['tasks', 'exec', '-t', '--exec-id', 'e5', 'c1', 'sh', '-c', 'tty; stty size; sleep 0.3'], {
      terminal: true,
    });
    await same([
      'tasks',
      'exec',
      '--exec-id',
      'e6',
      'c1',
      'sh',
      '-c',
      'grep -E "^(Cap|NoNew|Seccomp|Uid|Gid|Groups)" /proc/self/status; cat /proc/self/cgroup | wc -l',
    ]);
    await same(['tasks', 'pause', 'c1']);
    await same(['tasks', 'ls'], { normalize: pids });
    await same(['tasks', 'pause', 'c1']);
    await same(['tasks', 'exec', '--exec-id', 'e7', 'c1', 'true']);
    await same(['tasks', 'resume', 'c1']);
    await same(['tasks', 'resume', 'c1']);
    await same(['tasks', 'metrics', 'c1'], { normalize: (text) => text.replaceAll(/(?<= )[\d[\]][\d \][]*$/gm, 'N') });
    await same(['tasks', 'rm', 'c1']);
    await same(['containers', 'rm', 'c1']);
    await same(['tasks', 'kill', 'c1']);
    for (const side of [pair.stock, pair.ours]) await status(side, 'STOPPED');
    await same(['tasks', 'ls'], { normalize: pids });
    await same(['tasks', 'kill', 'c1']);
    await same(['tasks', 'ps', 'c1']);
    await same(['tasks', 'exec', '--exec-id', 'e8', 'c1', 'true'], { normalize: pids });
    await same(['tasks', 'rm', 'c1']);
    await same(['tasks', 'rm', 'c1']);
    await same(['tasks', 'kill', 'c1']);
    await same(['containers', 'rm', 'c1']);
    await same(['containers', 'rm', 'c1']);
    await same(['containers', 'info', 'c1']);
    await same(['snapshots', 'ls']);
  });

  t.test('tasks ps shows every process of the container and marks the execs', async (t) => {
    const same = comparer(t, pair);
    await same(['run', '-d', imageName, 'c2', 'sh', '-c', 'sleep 1000 & sleep 1000 & wait']);
    for (const side of [pair.stock, pair.ours]) {
      const exec = pair.ctr(side, ['tasks', 'exec', '--exec-id', 'marked', 'c2', 'sleep', '2']);
      await until('the exec to be listed', async () =>
        (await pair.ctr(side, ['tasks', 'ps', 'c2'])).stdout.includes('marked'),
      );
      const { stdout } = await pair.ctr(side, ['tasks', 'ps', 'c2'], { normalize: pids });
      t.equal(stdout.split('\n').filter((line) => line.startsWith('PID ')).length, 5, `${side.daemon.name}: ${stdout}`);
      await exec;
    }
    await same(['tasks', 'kill', '-s', 'SIGKILL', 'c2']);
    for (const side of [pair.stock, pair.ours]) await status(side, 'STOPPED');
    await same(['tasks', 'delete', 'c2']);
    await same(['containers', 'delete', 'c2']);
  });

  t.test('attach shows what the container prints and passes its exit code on', async (t) => {
    const same = comparer(t, pair);
    await same(['containers', 'create', imageName, 'c3', 'sh', '-c', 'read line; echo got $line; exit 4']);
    await same(['tasks', 'ls']);
    await same(['tasks', 'start', 'c3'], { input: 'a word\n' });
    await same(['containers', 'rm', 'c3']);
    await same(['run', '-d', imageName, 'c4', 'sh', '-c', 'sleep 2; echo late; exit 6']);
    await same(['tasks', 'attach', 'c4'], { timeoutMs: 15_000 });
    await same(['tasks', 'rm', 'c4']);
    await same(['containers', 'rm', 'c4']);
  });

  t.test('force removal of a running task', async (t) => {
    const same = comparer(t, pair);
    await same(['run', '-d', imageName, 'c5', 'sleep', '1000']);
    await same(['tasks', 'rm', '--force', 'c5']);
    await same(['containers', 'rm', 'c5']);
  });

  t.test('events tell the same story in the same order', async (t) => {
    const stories: string[][] = [];
    for (const side of [pair.stock, pair.ours]) {
      const watcher = spawn('ctr', ['-a', side.daemon.address, '-n', side.namespace, 'events']);
      let text = '';
      watcher.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
      await new Promise((resolve) => setTimeout(resolve, 300));
      await pair.ctr(side, ['run', '-d', imageName, 'c6', 'sleep', '1000']);
      await pair.ctr(side, ['tasks', 'exec', '--exec-id', 'x1', 'c6', 'true']);
      await pair.ctr(side, ['tasks', 'pause', 'c6']);
      await pair.ctr(side, ['tasks', 'resume', 'c6']);
      await pair.ctr(side, ['tasks', 'rm', '--force', 'c6']);
      await pair.ctr(side, ['containers', 'rm', 'c6']);
      await until('the last event', () => text.includes('/snapshot/remove') || text.includes('/containers/delete'));
      await new Promise((resolve) => setTimeout(resolve, 300));
      watcher.kill('SIGTERM');
      const lines = text.split('\n').filter((line) => line !== '');
      stories.push(
        lines.map((line) =>
          pids(
            line
              .replace(/^.*? UTC /, '')
              .replaceAll(side.namespace, 'NS')
              .replaceAll(side.dir, 'DIR'),
          ),
        ),
      );
    }
    const [stock = [], ours = []] = stories;
    const topics = (story: string[]) => story.map((line) => line.split(' ')[1]);
    t.same(topics(ours), topics(stock));
    const payloads = (story: string[], topic: string) =>
      story
        .filter((line) => line.includes(` ${topic} `))
        .map((line) => line.replaceAll(/"(exited_at|bundle|rootfs)":("[^"]*"|\[[^\]]*\])/g, '"$1"'));
    for (const topic of [
      '/tasks/exit',
      '/tasks/delete',
      '/tasks/start',
      '/tasks/exec-added',
      '/tasks/exec-started',
      '/tasks/paused',
      '/containers/create',
      '/containers/delete',
    ])
      t.same(payloads(ours, topic), payloads(stock, topic), topic);
  });

  t.test('nothing is left on the host', async (t) => {
    t.same(await pair.stop(), []);
  });
});

/** The runtimes word the reason of a failed start each in their own way; the sentence before it is the contract. */
function reason(text: string): string {
  return text.replaceAll(/OCI runtime (create|exec) failed: .*/g, 'OCI runtime $1 failed: REASON');
}
