/**
 * Two daemons side by side, Debian's containerd and gantryd, each with its own root, socket and namespace: the same
 * command goes to both and what comes back is compared, modulo ids, times and places.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type t from 'tap';
import { chainIds, parseDigest } from '@gantry/oci';
import { run, runOnTerminal } from './command.ts';
import type { CommandOptions, CommandResult } from './command.ts';
import { gantryd } from './gantryd.ts';
import type { DaemonProcess } from './gantryd.ts';
import { hostState, leaks } from './leaks.ts';
import { removeScratch, scratchDirectory, scratchNamespace } from './scratch.ts';
import { stockContainerd } from './stock.ts';
import { ociArchive, sha256 } from './tarball.ts';

/** One of the two, with what a command line needs to know of it. */
export interface Side {
  readonly daemon: DaemonProcess;
  readonly namespace: string;
  readonly dir: string;
}

/** The words of a command, the same for both or made for each side. */
export type Words = readonly string[] | ((side: Side) => readonly string[]);

export interface PairOptions extends CommandOptions {
  /** Runs ctr under a pseudo terminal. */
  readonly terminal?: boolean;
  /** Further rewriting of what was printed, after the general one. */
  readonly normalize?: (text: string) => string;
}

export interface PairResult {
  readonly stock: CommandResult;
  readonly ours: CommandResult;
}

const rewrites: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/g, 'TIME'],
  [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC/g, 'TIME'],
  [/Less than a second|About a minute|\d+ (seconds?|minutes?)( ago)?/g, 'AGE'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID'],
  [/extract-\d+-[\w-]{4}/g, 'extract-ID'],
  [/snapshots\/\d+\//g, 'snapshots/N/'],
  [
    /\/tmp\/gt-\w+\/(a|b)\/(root\/io\.containerd\.snapshotter\.v1\.overlayfs|root\/snapshots\/overlayfs)/g,
    'SNAPSHOTTER',
  ],
  [/\/tmp\/gt-\w+\/(a|b)\//g, 'DIR/'],
  [/(\r?\n|^)elapsed: .*/g, ''],
  [/\^@/g, ''], // script(1) ends its input with a NUL, and whoever is at the terminal then echoes it or does not
  [/\r+\n/g, '\n'],
  [/[ \t]+/g, ' '],
  [/ $/gm, ''],
];

/** Text that two daemons must agree on. */
export function normalize(text: string, side: Side): string {
  let out = text.replaceAll(side.namespace, 'NAMESPACE');
  for (const [pattern, replacement] of rewrites) out = out.replace(pattern, replacement);
  return out;
}

export class Pair {
  readonly stock: Side;
  readonly ours: Side;
  readonly dir: string;
  readonly #before = hostState();

  constructor() {
    this.dir = scratchDirectory();
    const a = path.join(this.dir, 'a');
    const b = path.join(this.dir, 'b');
    for (const dir of [a, b]) mkdirSync(dir);
    this.stock = { daemon: stockContainerd(a), namespace: scratchNamespace('a'), dir: a };
    // The comparison itself can be tried: with this set, a second stock containerd stands in for gantryd.
    const daemon = process.env['GANTRY_TEST_THE_TEST'] === '1' ? stockContainerd(b) : gantryd(b);
    this.ours = { daemon, namespace: scratchNamespace('b'), dir: b };
  }

  /** The busybox image as an archive both can import. */
  get archive(): string {
    return path.join(this.dir, 'box.tar');
  }

  async start(): Promise<void> {
    writeFileSync(this.archive, ociArchive());
    await Promise.all([this.stock.daemon.start(), this.ours.daemon.start()]);
  }

  async ctr(side: Side, words: Words, options: PairOptions = {}): Promise<CommandResult> {
    const list = typeof words === 'function' ? words(side) : words;
    const args = ['-a', side.daemon.address, '-n', side.namespace, ...list];
    const result = await (options.terminal ? runOnTerminal : run)('ctr', args, options);
    const clean = (text: string): string => {
      const general = normalize(text, side);
      return options.normalize === undefined ? general : options.normalize(general);
    };
    return { code: result.code, stdout: clean(result.stdout), stderr: clean(result.stderr) };
  }

  /** Sends one command to both, stock first. */
  async both(words: Words, options: PairOptions = {}): Promise<PairResult> {
    let stock = await this.ctr(this.stock, words, options);
    const ours = await this.ctr(this.ours, words, options);
    // On a busy machine Debian's containerd now and then drops the end of what a short-lived container wrote.
    const list = typeof words === 'function' ? words(this.stock) : words;
    for (let again = 0; again < 3 && list.includes('--rm') && isCutOff(stock, ours); again += 1) {
      stock = await this.ctr(this.stock, words, options);
    }
    return { stock, ours };
  }

  /**
   * Runs `look` on the tree of an image with these layers, which is unpacked in the snapshotter. (`ctr images mount` of 1.6 always
   * takes the default one.)
   */
  async withTree<T>(
    side: Side,
    snapshotter: string,
    layers: readonly Buffer[],
    look: (root: string) => T | Promise<T>,
  ): Promise<T> {
    const chain = chainIds(layers.map((layer) => parseDigest(sha256(layer)))).at(-1) ?? '';
    const target = path.join(side.dir, `tree-${snapshotter}`);
    const words = ['-a', side.daemon.address, '-n', side.namespace, 'snapshots', '--snapshotter', snapshotter];
    const call = async (...more: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run('ctr', [...words, ...more]);
      if (code !== 0) throw new Error(`${side.daemon.name}: ctr snapshots ${more.join(' ')}: ${stderr}`);
      return stdout;
    };
    await call('prepare', target, chain); // unlike a view it is not garbage to ctr
    mkdirSync(target);
    const mounted = await run('sh', ['-euc', await call('mounts', target, target)]);
    try {
      if (mounted.code !== 0) throw new Error(`mounting ${target}: ${mounted.stderr}`);
      return await look(target);
    } finally {
      if (mounted.code === 0) await run('umount', [target]);
      await run('rmdir', [target]);
      await call('rm', target);
    }
  }

  /** Has both collect their garbage, which they do by themselves at a moment of their own choosing. */
  async collectGarbage(): Promise<void> {
    await this.both(['leases', 'create', '--id', 'passing']);
    await this.both(['leases', 'rm', '--sync', 'passing']);
  }

  /** Stops both; what gantry left on the host, one line each. */
  async stop(): Promise<string[]> {
    await Promise.all([this.stock.daemon.stop(), this.ours.daemon.stop()]);
    const left = leaks(this.#before, [this.ours.dir, this.ours.namespace]);
    for (const root of [
      'cpu',
      'cpuacct',
      'cpuset',
      'memory',
      'devices',
      'freezer',
      'blkio',
      'pids',
      'systemd',
      'unified',
    ])
      await run('rmdir', [`/sys/fs/cgroup/${root}/${this.stock.namespace}`]); // what the peer leaves is ours to remove
    removeScratch(this.dir);
    return left;
  }
}

/** Whether `one` is `other` without the end of its output. */
function isCutOff(one: CommandResult, other: CommandResult): boolean {
  const isStart = other.stdout.startsWith(one.stdout) && other.stderr.startsWith(one.stderr);
  return one.code === other.code && isStart && (one.stdout !== other.stdout || one.stderr !== other.stderr);
}

/** A function that sends a command to both daemons and checks that they say the same; resolves to gantryd's result. */
export function comparer(
  test: Pick<typeof t, 'same'>,
  pair: Pair,
): (words: Words, options?: PairOptions) => Promise<CommandResult> {
  return async (words, options = {}) => {
    const title = typeof words === 'function' ? words(pair.ours).join(' ') : words.join(' ');
    const { stock, ours } = await pair.both(words, options);
    test.same(ours, stock, `ctr ${title}`);
    return ours;
  };
}
