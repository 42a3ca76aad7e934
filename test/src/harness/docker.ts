/**
 * Debian's dockerd on a containerd socket, with everything of its own: data, sockets, and a network namespace, so that its
 * bridge, addresses and packet filter rules are nobody else's and go when it goes. The same docker command can be sent to
 * an engine on gantryd and to one on a stock containerd, and what comes back compared.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type t from 'tap';
import { run, runOnTerminal, until } from './command.ts';
import type { CommandOptions, CommandResult } from './command.ts';
import { DaemonProcess, gantryd } from './gantryd.ts';
import { hostState, leaks, removeEmptyGroups } from './leaks.ts';
import { missing, removeScratch, scratchDirectory, scratchNamespace } from './scratch.ts';
import { stockContainerd } from './stock.ts';
import { busyboxLayer } from './tarball.ts';

/** What every engine's image of busybox is called. */
export const dockerImage = 'box';

/** The client that belongs to Debian's engine, where another stands before it on the PATH. */
const client = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

/** The engine looks for its own helpers where Debian has them. */
const serverPath = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

/** Why there is no engine here to test with; undefined when there is. */
export function missingDocker(): string | undefined {
  return missing('dockerd', 'docker', 'containerd', 'runc', 'iptables', 'unshare', 'ip');
}

export interface DockerOptions extends CommandOptions {
  /** Runs docker under a pseudo terminal. */
  readonly terminal?: boolean;
}

/** One dockerd below `dir` on a daemon's socket. */
export class DockerEngine {
  readonly below: DaemonProcess;
  readonly dir: string;
  readonly daemon: DaemonProcess;
  /** The parent of its containers' control groups, without the slash. */
  readonly group: string;

  constructor(below: DaemonProcess, dir: string, args: readonly string[] = []) {
    this.below = below;
    this.dir = dir;
    this.group = scratchNamespace('d');
    mkdirSync(dir, { recursive: true });
    const [socket, config] = [path.join(dir, 'd.sock'), path.join(dir, 'daemon.json')];
    writeFileSync(config, '{}');
    const own = ['--data-root', path.join(dir, 'data'), '--exec-root', path.join(dir, 'exec')];
    const files = ['--config-file', config, '--pidfile', path.join(dir, 'd.pid'), '--host', `unix://${socket}`];
    const settings = ['--containerd', below.address, '--cgroup-parent', `/${this.group}`];
    const start = 'ip link set lo up && exec dockerd "$@"';
    const command = ['unshare', '--net', 'sh', '-c', start, 'sh', ...own, ...files, ...settings, ...args];
    this.daemon = new DaemonProcess('dockerd', socket, command, path.join(dir, 'dockerd.log'));
  }

  /** Starts dockerd; the first time it gets the image too. */
  async start(): Promise<void> {
    await this.daemon.start(serverPath);
    await until('dockerd to answer', async () => (await this.docker(['version'])).code === 0, 30_000);
    if ((await this.docker(['image', 'inspect', dockerImage])).code === 0) return;
    const words = ['import', '--change', 'ENV PATH=/bin', '--change', 'CMD ["sh"]', '-', dockerImage];
    const { code, stderr } = await this.docker(words, { input: busyboxLayer() });
    if (code !== 0) throw new Error(`docker import: ${stderr}`);
  }

  docker(words: readonly string[], options: DockerOptions = {}): Promise<CommandResult> {
    const env = { ...options.env, DOCKER_HOST: `unix://${this.daemon.address}`, DOCKER_CONFIG: this.dir };
    return (options.terminal === true ? runOnTerminal : run)(client, words, { timeoutMs: 60_000, ...options, env });
  }

  /** As `docker`, for what must succeed; resolves to its output without the last line feed. */
  async must(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(words);
    if (code !== 0) throw new Error(`docker ${words.join(' ')}: ${stderr}`);
    return stdout.trimEnd();
  }

  /** Removes every container there is and stops dockerd. */
  async stop(): Promise<void> {
    const ids = (await this.docker(['ps', '--all', '--quiet'])).stdout.trim().split('\n').filter(Boolean);
    if (ids.length > 0) await this.docker(['rm', '--force', '--volumes', ...ids]);
    await this.daemon.stop();
    // What dockerd itself leaves: its view of its network namespace and, once killed, of its data.
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const places = mounts.map((line) => line.split(' ')[4] ?? '').filter((place) => this.#isOwn(place));
    for (const place of places.toReversed()) await run('umount', [place]);
  }

  #isOwn(place: string): boolean {
    return ['data', 'exec'].some((name) => `${place}/`.startsWith(`${path.join(this.dir, name)}/`));
  }

  /** Removes the empty parent of its containers' control groups, which runc leaves. */
  removeGroup(): void {
    removeEmptyGroups(this.group);
  }
}

const rewrites: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{64}\b/g, 'LONG-ID'],
  [/\b[0-9a-f]{12}\b/g, 'SHORT-ID'],
  [/\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)/g, 'TIME'],
  [/Less than a second|About a minute|\d+ (seconds?|minutes?)/g, 'AGE'],
  // The client says this or not, whoever is first.
  [/^time="TIME" level=error msg="error waiting for container: context canceled"\n/gm, ''],
  // docs/compatibility.md: there is no runc whose name could be said.
  [/(OCI runtime (create|exec) failed: )(runc create failed: |exec failed: )/g, '$1'],
  [/E[A-Z]+: (operation not permitted), capset/g, '$1'],
  [/ E[A-Z]+: (no such file or directory), openat2 '[^']*'/g, ' $1'],
  [/\^@/g, ''],
  [/\r+\n/g, '\n'],
  [/[ \t]+/g, ' '],
];

/** Two engines, one on a stock containerd and one on gantryd, which must say the same. */
export class DockerPair {
  readonly dir = scratchDirectory();
  readonly stock: DockerEngine;
  readonly ours: DockerEngine;

  constructor(args: readonly string[] = []) {
    const [a, b] = [path.join(this.dir, 'a'), path.join(this.dir, 'b')];
    this.stock = new DockerEngine(stockContainerd(path.join(a, 'c')), a, args);
    this.ours = new DockerEngine(gantryd(path.join(b, 'c')), b, args);
  }

  async start(): Promise<void> {
    for (const { below } of this.#engines) await below.start();
    await Promise.all(this.#engines.map((engine) => engine.start()));
  }

  /** A function that sends a command to both at once and checks that they say the same; resolves to gantryd's. */
  comparer(
    test: Pick<typeof t, 'same'>,
  ): (words: readonly string[], options?: DockerOptions) => Promise<CommandResult> {
    return async (words, options = {}) => {
      const [stock, ours] = await Promise.all(
        this.#engines.map(async (engine) => normalized(await engine.docker(words, options), engine)),
      );
      // The engine lists changes as it finds them, in the order of its directories.
      const sorted = (result?: CommandResult) =>
        words[0] === 'diff' ? { ...result, stdout: result?.stdout.split('\n').toSorted() } : result;
      test.same(sorted(ours), sorted(stock), `docker ${words.join(' ')}`);
      return ours as CommandResult;
    };
  }

  /** Polls both engines until each prints a line that matches; for what takes its time. */
  async bothUntil(expected: RegExp, words: readonly string[]): Promise<void> {
    const matches = async (engine: DockerEngine): Promise<boolean> =>
      expected.test((await engine.docker(words)).stdout);
    const waitFor = (engine: DockerEngine) =>
      until(`docker ${words.join(' ')} to match ${expected}`, () => matches(engine), 30_000);
    await Promise.all(this.#engines.map(waitFor));
  }

  /** Stops both; what gantry or its engine left on the host, one line each. */
  async stop(): Promise<string[]> {
    await Promise.all(this.#engines.map((engine) => engine.stop()));
    await Promise.all(this.#engines.map(({ below }) => below.stop()));
    // The engine makes its fifos below its own directory: what comes and goes where clients make theirs is others'.
    for (const engine of this.#engines) engine.removeGroup();
    const left = leaks(hostState(), [this.ours.dir, this.ours.group]);
    removeScratch(this.dir);
    return left;
  }

  get #engines(): readonly DockerEngine[] {
    return [this.stock, this.ours];
  }
}

function normalized({ code, stdout, stderr }: CommandResult, { dir, group }: DockerEngine): CommandResult {
  const clean = (text: string): string => {
    const general = text.replaceAll(dir, 'DIR').replaceAll(group, 'GROUP');
    return rewrites.reduce((out, [pattern, replacement]) => out.replace(pattern, replacement), general);
  };
  return { code, stdout: clean(stdout), stderr: clean(stderr) };
}
