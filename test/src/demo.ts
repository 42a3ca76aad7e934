/**
 * `make run`: a container's whole life on a gantryd of its own, on one screen. It checks every claim it prints and ends
 * with status 1 at the first one that is not true.
 */
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  gantry,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  until,
} from './index.ts';
import type { CommandResult } from './index.ts';

const bold = (text: string): string => (process.stdout.isTTY ? `\u001b[1m${text}\u001b[0m` : text);
let step = 0;

function say(title: string, detail = ''): void {
  step += 1;
  console.log(`${bold(`${String(step).padStart(2)}  ${title.padEnd(34)}`)}${detail}`);
}

const show = (name: string, value: string): void => console.log(`      ${name.padEnd(20)}${value}`);

function insist(holds: boolean, claim: string, evidence: string): void {
  if (!holds) throw new Error(`not true: ${claim}\n${evidence}`);
}

async function main(): Promise<void> {
  const reason = missing('busybox');
  if (reason !== undefined) throw new Error(`cannot run a container here: ${reason}`);
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('r');
  const daemon = gantryd(dir);
  const call = async (...args: string[]): Promise<CommandResult> => {
    const result = await gantry(daemon, namespace, args);
    insist(result.code === 0, `gantry ${args.join(' ')} succeeds`, `exit code ${result.code}: ${result.stderr}`);
    return result;
  };
  try {
    const t0 = Date.now();
    await daemon.start();
    say('gantryd is started', `pid ${daemon.pid}, ready after ${Date.now() - t0} ms, socket ${daemon.address}`);

    const archive = path.join(dir, 'box.tar');
    const image = ociArchive();
    writeFileSync(archive, image);
    await call('load', '-i', archive);
    const listed = await call('images');
    insist(listed.stdout.includes('box'), 'the image is listed', listed.stdout);
    say('an image of busybox is loaded', `${imageName}, ${(image.length / 1e6).toFixed(1)} MB`);
    await lookAround(call);
    await surviveSupervisor();
  } finally {
    if (daemon.pid !== 0) await daemon.stop();
  }
  const left = leaks(before, [dir, namespace]);
  insist(left.length === 0, 'nothing is left on the host', left.join('\n'));
  removeScratch(dir);
  say('everything is gone again', 'no process, mount, cgroup or fifo is left');

  async function surviveSupervisor(): Promise<void> {
    await call('run', '-d', '--name', 'web', imageName, 'sh', '-c', 'trap "exit 0" TERM; while sleep 0.2; do :; done');
    const pid = await pidOf('web');
    say('a second container runs', `$ gantry run -d --name web …   pid ${pid}`);
    const old = daemon.pid;
    await daemon.kill();
    const alive = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
    insist(alive.startsWith('sh -c'), 'the container lives on', alive);
    say('gantryd is killed (SIGKILL)', `pid ${old} is gone, the container's pid ${pid} lives on`);
    const t0 = Date.now();
    await daemon.start();
    const again = await pidOf('web');
    insist(again === pid, 'the container runs on with the same pid', `before ${pid}, now ${again}`);
    say(
      'gantryd is started again',
      `pid ${daemon.pid}; after ${Date.now() - t0} ms web is running, still pid ${again}`,
    );
    const exec = await call(
      'exec',
      'web',
      'sh',
      '-c',
      'echo "inside of $(hostname), beside pid 1: $(head -n1 /proc/1/comm)"',
    );
    insist(exec.stdout.includes('beside pid 1: sh'), 'exec joins the container', exec.stdout);
    say('exec into it', exec.stdout.trim());
    await call('stop', 'web');
    const stopped = await call('ps', '-a');
    insist(/web/.test(stopped.stdout) && !/\bUp\b|running/i.test(stopped.stdout), 'web is stopped', stopped.stdout);
    await call('rm', 'web');
    await call('rmi', imageName);
    say('stop, rm, rmi', 'web ended by SIGTERM; container and image are removed');
  }

  async function pidOf(name: string): Promise<number> {
    return until(`${name} to be listed with its pid`, async () => {
      const { code, stdout } = await gantry(daemon, namespace, ['inspect', name]);
      if (code !== 0) return undefined;
      const pid = Number(/"pid": (\d+)/i.exec(stdout)?.[1] ?? 0);
      return pid > 0 ? pid : undefined;
    });
  }
}

/** Runs a container that tells what it sees, and checks it against the host. */
async function lookAround(call: (...args: string[]) => Promise<CommandResult>): Promise<void> {
  const script = [
    'echo pid=$$',
    'echo hostname=$(hostname)',
    'echo mounts=$(wc -l < /proc/self/mountinfo)',
    'echo root=$(awk \'$5 == "/" { for (i = 7; $i != "-"; i++); print $(i+1) }\' /proc/self/mountinfo)',
    'echo links=$(ls /sys/class/net)',
    'echo netns=$(stat -L -c %i /proc/self/ns/net)',
    'echo memory=$(grep -h . /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -n1)',
    'echo processes=$(ls -d /proc/[0-9]* | wc -l)',
    'echo caps=$(grep CapEff /proc/self/status | cut -f2)',
  ].join('; ');
  const args = [
    'run',
    '--rm',
    '--name',
    'first',
    '--hostname',
    'first',
    '--memory',
    '64m',
    imageName,
    'sh',
    '-c',
    script,
  ];
  const t0 = Date.now();
  const { stdout } = await call(...args);
  const took = Date.now() - t0;
  const seen = new Map(stdout.split('\n').map((line) => [line.split('=')[0] ?? '', line.split('=')[1] ?? ''] as const));
  const host = /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? '';
  say('a container looks around', `$ gantry run --rm --hostname first --memory 64m …   (${took} ms)`);
  show('its own pid', `${seen.get('pid')}, of ${seen.get('processes')} processes it can see`);
  show('host name', seen.get('hostname') ?? '');
  show('mounts', `${seen.get('mounts')}, root file system: ${seen.get('root')}`);
  show('network', `links: ${seen.get('links')}; namespace ${seen.get('netns')}, the host's is ${host}`);
  show('memory limit', `${Number(seen.get('memory')) / 1048576} MiB`);
  show('capabilities', seen.get('caps') ?? '');
  insist(seen.get('pid') === '1', 'the process is pid 1', stdout);
  insist(seen.get('hostname') === 'first', 'the host name is its own', stdout);
  insist(seen.get('links') === 'lo' && seen.get('netns') !== host, 'the network is its own', stdout);
  insist(seen.get('memory') === String(64 * 1048576), 'the memory limit is 64 MiB', stdout);
}

try {
  await main();
} catch (err) {
  console.error(`make run: ${err instanceof Error ? err.message : String(err)}`);
  process.exitCode = 1;
}
