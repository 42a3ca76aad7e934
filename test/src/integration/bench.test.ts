/** The bench measures what it says, on both daemons, and leaves nothing; what it finds is its own business. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { checkout, hostState, leaks, missing, removeScratch, run, scratchDirectory, until } from '../index.ts';

const bench = path.join(checkout, 'bench/dist/main.js');
const skip = missing('busybox', 'containerd', 'containerd-shim-runc-v2', 'runc');

// Hundreds of containers live and die here; tap's 30 s are for less.
t.setTimeout(300_000);

interface Figures {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
}

interface Written {
  readonly run: string;
  readonly series: readonly {
    readonly key: string;
    readonly scenario: string;
    readonly ratio?: number;
    readonly sides: { readonly gantry?: Figures; readonly peer?: Figures };
  }[];
}

t.test(
  'a small run gives figures of everything, and leaves nothing',
  { skip: skip ?? false, timeout: 300_000 },
  async (t) => {
    const dir = scratchDirectory();
    t.teardown(() => removeScratch(dir));
    const before = hostState();
    const json = path.join(dir, 'bench.json');
    const words = [
      '--quick',
      '--samples',
      '2',
      '--density',
      '2,4',
      '--json',
      json,
      '--svg',
      path.join(dir, 'bench.svg'),
    ];
    const { code, stdout, stderr } = await run(process.execPath, [bench, ...words], { timeoutMs: 240_000 });
    t.equal(code, 0, stderr);
    t.notMatch(stderr, 'had to be cleared away');
    const written = JSON.parse(readFileSync(json, 'utf8')) as Written;
    const scenarios = new Set(written.series.map(({ scenario }) => scenario));
    t.same([...scenarios], ['lifecycle', 'exec', 'density', 'restart', 'runtime', 'rpc', 'stdout', 'images']);
    for (const { key, sides } of written.series) {
      for (const [name, side] of [
        ['gantry', sides.gantry],
        ['the peer', sides.peer],
      ] as const) {
        t.ok(
          side !== undefined && side.count > 0 && Number.isFinite(side.p50) && side.p50 <= side.p99,
          `${key} of ${name}`,
        );
      }
    }
    t.match(stdout, /targets: \d+ met, \d+ missed/);
    t.match(readFileSync(path.join(dir, 'bench.svg'), 'utf8'), /^<svg [^]*<\/svg>\n$/);
    t.same(leaks(before, [written.run]), []);
  },
);

t.test(
  'interrupted while containers run, it takes everything down',
  { skip: skip ?? false, timeout: 300_000 },
  async (t) => {
    const before = hostState();
    const child = spawn(process.execPath, [bench, '--only', 'density', '--density', '500'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    t.teardown(() => child.kill('SIGINT')); // once more does nothing
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const places = /below (\/\S+), cgroups below \/(\S+)/;
    const [, dir = '', mark = ''] = await until('the daemons to start', () => places.exec(said) ?? undefined, 20_000);
    await until('containers to run', () => said.includes('from 0 to 500'), 60_000);
    await until('some of them to run', () => leaks(before, [mark]).length > 20, 60_000);
    child.kill('SIGINT');
    t.equal(await exited, 130, said);
    t.same(leaks(before, [dir, mark]), []);
  },
);
