/**
 * How fast a container's output comes to the client through its fifo: `dd` in the container writes 64 KiB at a time,
 * `dd` on the host reads and throws away. The same without a container is the ceiling of this machine.
 */
import { run } from '@gantry/test';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { makeFifo, Pipes } from '../containers/pipes.ts';
import {
  createContainer,
  createTask,
  prepareSnapshot,
  removeContainer,
  startProcess,
  waitForProcess,
} from '../containers/steps.ts';
import type { Side } from '../peers/side.ts';
import { freshId, sampled } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const blockBytes = 64 * 1024;
const timeoutMs = 120_000;

const writer = (mebibytes: number): string[] => [
  'dd',
  'if=/dev/zero',
  'bs=64k',
  `count=${(mebibytes * 2 ** 20) / blockBytes}`,
];

/** Resolves when every writer has closed the fifo and all of it is read. */
async function readAll(fifo: string, mebibytes: number): Promise<void> {
  const { code, stderr } = await run('dd', [`if=${fifo}`, 'of=/dev/null', 'bs=1M'], {
    timeoutMs,
    env: { LC_ALL: 'C' },
  });
  const bytes = Number(/^(\d+) bytes/m.exec(stderr)?.[1]);
  if (code !== 0 || bytes !== mebibytes * 2 ** 20) throw new Error(`the reader got ${bytes} bytes: ${stderr}`);
}

async function throughContainer(side: Side, mebibytes: number): Promise<number> {
  const id = freshId('out');
  const fifo = path.join(side.dir, id);
  makeFifo(fifo);
  // containerd's shim takes both outputs or none.
  using pipes = Pipes.make(side.dir, `${id}-pipes`);
  try {
    const mounts = await prepareSnapshot(side, id);
    await createContainer(side, id, writer(mebibytes));
    const read = readAll(fifo, mebibytes);
    read.catch(() => undefined); // awaited below
    await createTask(side, id, mounts, { stdin: '', stdout: fifo, stderr: pipes.paths.stderr });
    const exited = waitForProcess(side, id);
    const startedAt = performance.now();
    await startProcess(side, id);
    const status = await exited;
    if (status !== 0) throw new Error(`${side.title}: dd exited with ${status}`);
    await read;
    const seconds = (performance.now() - startedAt) / 1e3;
    await removeContainer(side, id);
    return mebibytes / seconds;
  } finally {
    rmSync(fifo, { force: true });
  }
}

async function withoutContainer(side: Side, mebibytes: number): Promise<number> {
  const fifo = path.join(side.dir, freshId('plain'));
  makeFifo(fifo);
  try {
    const [command = '', ...args] = ['busybox', ...writer(mebibytes), `of=${fifo}`];
    const startedAt = performance.now();
    await Promise.all([readAll(fifo, mebibytes), run(command, args, { timeoutMs })]);
    return mebibytes / ((performance.now() - startedAt) / 1e3);
  } finally {
    rmSync(fifo, { force: true });
  }
}

async function sampleBoth(bench: Bench, side: Side): Promise<void> {
  const { stdoutMiB } = bench.plan;
  const info = { unit: 'MiB/s', better: 'more' } as const;
  const title = 'stdout through the client’s fifo, 64 KiB writes';
  bench.results.add({ ...info, key: 'stdout/rate', title }, side.name, await throughContainer(side, stdoutMiB));
  const plain = { ...info, key: 'stdout/plain', title: '— the same on the host, without a container' };
  bench.results.add(plain, side.name, await withoutContainer(side, stdoutMiB));
}

export const stdoutScenario: Scenario = {
  name: 'stdout',
  title: 'a container’s output through the client’s fifo',
  async run(bench) {
    const { stdoutRounds, stdoutMiB } = bench.plan;
    bench.say(`stdout: ${stdoutRounds} × ${stdoutMiB} MiB each`);
    await sampled(bench, stdoutRounds, (side) => sampleBoth(bench, side));
  },
};
