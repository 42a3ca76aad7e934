/**
 * The OCI runtime without a daemon: `run` of `true` by the command lines, from the first start to the last end, and the
 * same life in a process that is there already, as a shim has it.
 */
import { checkout, run, RuntimeBench } from '@gantry/test';
import type { RuntimeName } from '@gantry/test';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { interleave } from '../statistics.ts';
import { freshId } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

interface Took {
  readonly ms: number;
  readonly cpuMs: number;
}

/** bash(1) measures what it waits for, and all that that has waited for. */
const script = 'TIMEFORMAT="%3R %3U %3S"; time "$@" >/dev/null 2>&1 </dev/null; exit $?';

/** Without what the environment says to Node, which a service does not say either. */
const env = { NODE_EXTRA_CA_CERTS: '', NODE_OPTIONS: '' };

async function timedCommand(bench: RuntimeBench, name: RuntimeName, words: readonly string[]): Promise<Took> {
  const [command, args] = bench.command(name, words);
  const { code, stderr } = await run('bash', ['-c', script, 'bash', command, ...args], { cwd: bench.bundle, env });
  const [real, user, system] = (/([\d.]+) ([\d.]+) ([\d.]+)\s*$/.exec(stderr) ?? []).slice(1).map(Number);
  if (code !== 0 || real === undefined || user === undefined || system === undefined) {
    throw new Error(`${name} ${words.join(' ')} ended with ${code}: ${stderr}`);
  }
  return { ms: real * 1e3, cpuMs: (user + system) * 1e3 };
}

async function inProcess(bench: RuntimeBench, count: number): Promise<number[]> {
  const driver = path.join(checkout, 'runtime/dist/testing/timing-driver.js');
  const flags = ['--single-threaded', '--v8-pool-size=0', '--max-lazy'];
  const { code, stdout, stderr } = await run(process.execPath, [...flags, driver, bench.bundle, String(count)], {
    env,
    timeoutMs: 30_000 + count * 1_000,
  });
  if (code !== 0) throw new Error(`the driver ended with ${code}: ${stderr}`);
  return stdout.trim().split('\n').map(Number);
}

/** crun refuses hosts with hybrid control groups. */
function works(bench: RuntimeBench, name: RuntimeName): boolean {
  try {
    return bench.call(name, ['run', freshId('try')]).code === 0;
  } catch {
    return false;
  }
}

async function measure({ plan, results, sides, say }: Bench, bench: RuntimeBench): Promise<void> {
  const names = sides.map(({ name }) => name);
  const peer = works(bench, 'crun') ? 'crun' : 'runc';
  const commands = { gantry: 'gantry', peer: 'runc' } as const;
  say(`runtime: ${plan.samples} × run of true`);
  for (const side of names)
    for (let i = 0; i < 3; i++) await timedCommand(bench, commands[side], ['run', freshId('w')]);
  for (const side of interleave(names, plan.samples)) {
    await sleep(plan.settleMs);
    const took = await timedCommand(bench, commands[side], ['run', freshId('run')]);
    results.add(
      { key: 'runtime/run', title: 'gantry-runtime run of true, against runc run', unit: 'ms' },
      side,
      took.ms,
    );
    results.add({ key: 'runtime/run-cpu', title: '— processor time', unit: 'ms' }, side, took.cpuMs);
    const listed = await timedCommand(bench, commands[side], ['list']);
    const title = '— of it the command’s start: list, without a container';
    results.add({ key: 'runtime/list', title, unit: 'ms' }, side, listed.ms);
  }
  const title = `in one process: create, start, wait and delete, against ${peer} run`;
  say('runtime: in one process');
  if (names.includes('gantry')) {
    // The first ones compile.
    const took = (await inProcess(bench, plan.samples + 10)).slice(10);
    results.add({ key: 'runtime/in-process', title, unit: 'ms' }, 'gantry', ...took);
  }
  if (!names.includes('peer')) return;
  for (let turn = 0; turn < plan.samples; turn++) {
    await sleep(plan.settleMs);
    const took = await timedCommand(bench, peer, ['run', freshId('run')]);
    results.add({ key: 'runtime/in-process', title, unit: 'ms' }, 'peer', took.ms);
  }
}

export const runtimeScenario: Scenario = {
  name: 'runtime',
  title: 'the OCI runtime without a daemon',
  async run(bench) {
    const runtimeBench = new RuntimeBench();
    try {
      runtimeBench.configure(runtimeBench.spec(['true']));
      await measure(bench, runtimeBench);
    } finally {
      runtimeBench.remove();
    }
  },
};
