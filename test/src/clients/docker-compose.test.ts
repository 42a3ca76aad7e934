/** Debian's docker-compose on an engine on gantryd and on one on containerd: the same project, the same words. */
import t from 'tap';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DockerPair, missing, missingDocker, run, until } from '../index.ts';
import type { CommandResult, DockerEngine } from '../index.ts';

const skip = missingDocker() ?? missing('docker-compose') ?? false;

const project = `
version: "2.4"
services:
  store:
    image: box
    command: sh -c 'echo stored > /data/word; touch /tmp/ready; exec sleep 1000'
    volumes: ["kept:/data"]
    healthcheck: { test: ["CMD", "test", "-e", "/tmp/ready"], interval: 1s, retries: 60 }
    stop_grace_period: 0s
  reader:
    image: box
    depends_on: { store: { condition: service_healthy } }
    volumes: ["kept:/data:ro"]
    environment: { WORD: "from compose" }
    mem_limit: 32m
    command: sh -c 'cat /data/word; echo $$WORD; hostname -i >/dev/null; exec sleep 1000'
    stop_grace_period: 0s
  once:
    image: box
    command: sh -c 'echo once; exit 3'
volumes: { kept: {} }
networks: { default: {} }
`;

/** The columns of what compose prints are as wide as its names; its order is its own. */
function plain({ code, stdout, stderr }: CommandResult): { code: number; stdout: string; stderr: string } {
  const clean = (text: string): string => {
    const words = text.replaceAll(/[ \t]+/g, ' ');
    const lines = words.split(/[\r\n]+/).map((line) => line.replaceAll(/-{4,}/g, '-').trim());
    return [...new Set(lines)].filter(Boolean).toSorted().join('\n');
  };
  return { code, stdout: clean(stdout), stderr: clean(stderr) };
}

t.setTimeout(280_000);
t.test('a project of docker-compose', { skip, timeout: 270_000 }, async (t) => {
  const pair = new DockerPair();
  let stopped: Promise<string[]> | undefined;
  const stop = (): Promise<string[]> => (stopped ??= pair.stop());
  t.teardown(stop); // when something has failed
  await pair.start();
  const engines: readonly DockerEngine[] = [pair.stock, pair.ours];
  const file = path.join(pair.dir, 'project/docker-compose.yml');
  mkdirSync(path.dirname(file));
  writeFileSync(file, project);
  const compose = (engine: DockerEngine, words: readonly string[]): Promise<CommandResult> =>
    run('docker-compose', ['--ansi', 'never', '--file', file, '--project-name', 'p', ...words], {
      env: { DOCKER_HOST: `unix://${engine.daemon.address}`, DOCKER_CONFIG: engine.dir },
      timeoutMs: 120_000,
    });
  const same = async (...words: string[]): Promise<void> => {
    const [stock, ours] = await Promise.all(engines.map(async (engine) => plain(await compose(engine, words))));
    t.same(ours, stock, `docker-compose ${words.join(' ')}`);
  };
  const bothUntil = (expected: RegExp, ...words: string[]): Promise<unknown> =>
    Promise.all(
      engines.map((engine) =>
        until(
          `docker-compose ${words.join(' ')} to match ${expected}`,
          async () => expected.test((await compose(engine, words)).stdout),
          60_000,
        ),
      ),
    );

  await same('up', '--detach');
  await bothUntil(/once.*Exit 3/, 'ps');
  await bothUntil(/reader.*Up/, 'ps');
  await bothUntil(/from compose/, 'logs', 'reader');
  await same('logs', 'reader', 'once');
  await same('exec', '-T', 'reader', 'sh', '-c', 'cat /data/word /sys/fs/cgroup/memory/memory.limit_in_bytes; exit 5');
  await same('run', '--rm', '-T', 'once', 'sh', '-c', 'echo run; exit 6');
  await same('up', '--detach', '--no-deps', '--scale', 'reader=2', 'reader');
  await same('kill', 'store');
  await same('stop');
  await same('down', '--volumes');
  t.same(await stop(), [], 'nothing is left on the host');
});
