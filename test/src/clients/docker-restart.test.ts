/** Containers of a docker engine on gantryd run on while the engine or gantryd is away, and both find them again. */
import t from 'tap';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { DockerEngine, gantryd, hostState, leaks, missingDocker } from '../index.ts';
import { removeScratch, scratchDirectory, until } from '../index.ts';

const skip = missingDocker() ?? false;
const counting = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done';

t.setTimeout(240_000);
t.test(
  'live-restore: dockerd and gantryd go and come back, containers run on',
  { skip, timeout: 220_000 },
  async (t) => {
    const dir = scratchDirectory();
    const below = gantryd(path.join(dir, 'c'));
    const engine = new DockerEngine(below, dir, ['--live-restore']);
    await below.start();
    await engine.start();
    const pidOf = (name: string) => engine.must('inspect', '--format', '{{.State.Pid}}', name);
    const stateIs = (name: string, expected: string) =>
      until(
        `${name} to be ${expected}`,
        async () => {
          const words = ['inspect', '--format', '{{.State.Status}} {{.State.ExitCode}}', name];
          return (await engine.docker(words)).stdout.trim() === expected;
        },
        60_000,
      );
    /** The lines of a container's log, once there are more than `count`. */
    const logBeyond = (name: string, count: number) =>
      until(
        `more than ${count} lines of ${name}`,
        async () => {
          const lines = (await engine.must('logs', name)).split('\n');
          return lines.length > count && lines;
        },
        60_000,
      );

    await engine.must('run', '-d', '--name', 'counts', 'box', 'sh', '-c', counting);
    await engine.must('run', '-d', '-i', '-t', '--name', 'shell', 'box', 'sh');
    await engine.must(
      'run',
      '-d',
      '--name',
      'ends',
      'box',
      'sh',
      '-c',
      'while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 5',
    );
    const pid = await pidOf('counts');
    const logged = (await logBeyond('counts', 3)).length;
    const init = Number(await pidOf('ends'));

    await engine.daemon.stop();
    // Away: the container goes on, another ends.
    writeFileSync(`/proc/${init}/root/tmp/end`, '');
    await until('the container to have ended by itself', () => !isAlive(init));
    t.ok(isAlive(Number(pid)), 'it runs without dockerd');
    await engine.start();
    t.equal(await pidOf('counts'), pid, 'the same process');
    await stateIs('ends', 'exited 5');
    const lines = await logBeyond('counts', logged + 3);
    t.same(lines.slice(0, -1), [...lines.slice(0, -1).keys()].map(String), 'no line of its output is lost');
    t.equal(await engine.must('exec', 'counts', 'echo', 'in'), 'in');

    await engine.daemon.kill();
    await engine.start();
    t.equal(await pidOf('counts'), pid, 'the same process after kill -9 of dockerd');

    const started = Date.now();
    await below.stop();
    t.ok(Date.now() - started < 4000, 'gantryd does not wait for calls that have no end');
    await below.start();
    await until(
      'dockerd to have found gantryd again',
      async () => (await engine.docker(['exec', 'counts', 'true'])).code === 0,
      60_000,
    );
    await below.kill();
    await below.start();
    await until(
      'dockerd to have found gantryd again',
      async () => (await engine.docker(['exec', 'counts', 'true'])).code === 0,
      60_000,
    );
    t.equal(await pidOf('counts'), pid, 'the same process after gantryd was stopped, killed and started');
    await logBeyond('counts', (await logBeyond('counts', 0)).length);
    t.equal((await engine.docker(['run', '--rm', 'box', 'sh', '-c', 'exit 4'])).code, 4, 'new ones are made');

    await engine.must('stop', '--time', '0', 'counts');
    await stateIs('counts', 'exited 137');
    await engine.must('kill', 'shell');
    await stateIs('shell', 'exited 137');
    await engine.stop();
    await below.stop();
    t.same(leaks(hostState(), [dir, engine.group]), [], 'nothing is left on the host');
    removeScratch(dir);
  },
);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
