/** Where nurseries are tried: a launcher over one of them, real shims and containers, and an account of what is left. */
import { closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync } from 'node:fs';
import { readFileSync, readlinkSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CLOSE_RANGE_CLOEXEC, linux } from '@gantry/libc';
import type { TtrpcServer } from '@gantry/ttrpc';
import { EventExchange } from '../../events/exchange.ts';
import { eventReceiver } from '../../events/receiver.ts';
import { defaultTimeouts } from '../../timeouts.ts';
import type { Timeouts } from '../../timeouts.ts';
import type { LaunchedShim, ShimRequest } from '../launcher.ts';
import type { Nursery } from '../nursery.ts';
import { formatIdentity, identify, isAlive, killProcess } from '../process-identity.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import { SpareLauncher } from '../spare-launcher.ts';

/** What every nursery can be made of. */
export interface NurseryParts {
  readonly node: string;
  readonly scratch: string;
  readonly logFd: number;
  readonly timeouts: Timeouts;
  readonly onUnfit: (reason: string) => void;
  readonly log: { warn(fields: object, text: string): void };
}

export type MakeNursery = (parts: NurseryParts) => Nursery;

export interface PlaceOptions {
  /** How many spares the launcher keeps. */
  readonly spares: number;
  /** The node program of the shims. */
  readonly node: string;
  readonly timeouts: Partial<Timeouts>;
}

/** Why these tests cannot run here; undefined when they can. */
export function cannotRunShims(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  return existsSync('/bin/busybox') ? undefined : 'needs the static busybox in /bin';
}

/** Polls until `check` holds; throws after ten seconds saying what was waited for. */
export async function until(what: string, check: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !check();) {
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export class NurseryPlace {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'gn-'));
  /** What was warned of, as `text {fields}`. */
  readonly warnings: string[] = [];
  /** The reasons of `onUnfit`. */
  readonly unfit: string[] = [];
  readonly nursery: Nursery;
  readonly launcher: SpareLauncher;
  readonly #cgroup = `/gantry-test-${randomBytes(4).toString('hex')}`;
  readonly #logFd: number;
  readonly #receiver: TtrpcServer;
  #sockets = 0;

  private constructor(make: MakeNursery, receiver: TtrpcServer, { spares, node, timeouts }: PlaceOptions) {
    for (const name of ['spares', 'bundles', 's', 'rootfs/bin', 'rootfs/proc', 'rootfs/dev'])
      mkdirSync(this.in(name), { recursive: true });
    copyFileSync('/bin/busybox', this.in('rootfs/bin/busybox'));
    this.#logFd = openSync(this.in('shims.log'), 'a', 0o600);
    this.#receiver = receiver;
    const common = {
      node,
      timeouts: { ...defaultTimeouts, ...timeouts },
      log: { warn: (fields: object, words: string) => void this.warnings.push(`${words} ${JSON.stringify(fields)}`) },
    };
    const onUnfit = (reason: string): void => void this.unfit.push(reason);
    this.nursery = make({ ...common, scratch: this.in('scratch'), logFd: this.#logFd, onUnfit });
    const socketDir = this.in('spares');
    this.launcher = new SpareLauncher({ ...common, nursery: this.nursery, spares, socketDir, eventsPath: this.events });
  }

  /** No spares are kept unless that is asked for. */
  static async open(make: MakeNursery, options: Partial<PlaceOptions> = {}): Promise<NurseryPlace> {
    const receiver = eventReceiver(
      new EventExchange(),
      () => undefined,
      () => undefined,
    );
    linux.closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC); // as gantryd does: what we were started with is nobody's
    const whole = { spares: 0, node: process.execPath, timeouts: {}, ...options };
    const place = new NurseryPlace(make, receiver, whole);
    await receiver.listen(place.events);
    return place;
  }

  in(name: string): string {
    return path.join(this.directory, name);
  }

  get events(): string {
    return this.in('events');
  }

  /** A path where a spare may listen that was born without the launcher. */
  freshSocket(): string {
    return this.in(`spares/${(this.#sockets += 1)}`);
  }

  /** Of a spare that was killed. */
  removeSocket(socket: string): void {
    rmSync(socket, { force: true });
  }

  request(id: string): ShimRequest {
    return { namespace: 'nursery-test', id, bundle: this.in(`bundles/${id}`), socketPath: this.in(`s/${id}`) };
  }

  /** Launches a shim as a create does. */
  async launch(id: string, args: readonly string[]): Promise<LaunchedShim> {
    const contents = { config: Buffer.from(JSON.stringify(this.#spec(id, args))), optionsJson: '{}\n' };
    const request = this.request(id);
    return await this.launcher.launch(request, contents, async (shim) => {
      mkdirSync(request.bundle);
      writeFileSync(path.join(request.bundle, 'shim.pid'), formatIdentity(shim));
    });
  }

  #spec(id: string, args: readonly string[]): object {
    return {
      ociVersion: '1.1.0',
      process: { args: ['/bin/busybox', ...args], cwd: '/', env: ['IN=container'], user: { uid: 0, gid: 0 } },
      root: { path: this.in('rootfs') },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ],
      linux: {
        cgroupsPath: `${this.#cgroup}/${id}`,
        namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })),
      },
    };
  }

  /** Removes what a shim of this name was launched with and is not there to remove. */
  removeBundle(id: string): void {
    rmSync(this.request(id).bundle, { recursive: true, force: true });
    rmSync(this.request(id).socketPath, { force: true });
  }

  /** The zygote; throws when there is none. */
  zygote(): ProcessIdentity {
    const isZygote = (pid: string): boolean =>
      text(`/proc/${pid}/cmdline`).includes('gantry-zygote') &&
      text(`/proc/${pid}/status`).includes(`\nPPid:\t${process.pid}\n`);
    const zygote = this.#ownPids().find(isZygote);
    const identity = zygote === undefined ? undefined : identify(Number(zygote));
    if (identity === undefined) throw new Error('there is no zygote');
    return identity;
  }

  /** Forked by it, and not gone yet. */
  childrenOf({ pid }: ProcessIdentity): ProcessIdentity[] {
    return this.#pids()
      .filter((child) => text(`/proc/${child}/status`).includes(`\nPPid:\t${pid}\n`))
      .flatMap((child) => identify(Number(child)) ?? []);
  }

  /** The spares that listen. */
  spares(): ProcessIdentity[] {
    const sockets = readdirSync(this.in('spares')).map((name) => this.in(`spares/${name}`));
    return this.#pids()
      .filter((pid) => sockets.some((socket) => text(`/proc/${pid}/cmdline`).includes(socket)))
      .flatMap((pid) => identify(Number(pid)) ?? []);
  }

  /** Processes of this place: the zygote, spares, shims, containers. */
  processes(): string[] {
    return this.#ownPids().map((pid) => `process ${pid}: ${text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()}`);
  }

  #ownPids(): string[] {
    const marks = (pid: string): string[] => [
      link(`/proc/${pid}/fd/2`),
      link(`/proc/${pid}/cwd`),
      link(`/proc/${pid}/root`),
      text(`/proc/${pid}/cgroup`),
      text(`/proc/${pid}/cmdline`),
    ];
    const isOurs = (mark: string): boolean => mark.includes(this.directory) || mark.includes(this.#cgroup);
    const runs = (pid: string): boolean => !/\) [ZX] /.test(text(`/proc/${pid}/stat`));
    return this.#pids().filter((pid) => marks(pid).some(isOurs) && runs(pid));
  }

  /** After a failure: ends what is left. */
  async #takeDown(): Promise<void> {
    for (const pid of this.#ownPids()) {
      const process = identify(Number(pid));
      if (process !== undefined) killProcess(process);
    }
    await until('every process to be gone', () => this.#ownPids().length === 0);
    for (const directory of this.#cgroups()) {
      for (const id of readdirSync(directory, { withFileTypes: true }))
        if (id.isDirectory()) rmdirSync(path.join(directory, id.name));
      rmdirSync(directory);
    }
  }

  #cgroups(): string[] {
    const mountLines = text('/proc/self/mountinfo').split('\n');
    const trees = mountLines.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '');
    return trees.map((tree) => `${tree}${this.#cgroup}`).filter((directory) => existsSync(directory));
  }

  #pids(): string[] {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  }

  /** What is there that belongs to no one any more; empty when all is well. */
  leftovers(): string[] {
    return [
      ...this.processes(),
      ...text('/proc/self/mountinfo')
        .split('\n')
        .filter((line) => line.includes(this.directory)),
      ...this.#cgroups(),
      ...['spares', 'bundles', 's'].flatMap((name) => readdirSync(this.in(name)).map((file) => `${name}/${file}`)),
    ];
  }

  /** Closes the launcher, and checks that nothing is left. */
  async end(t: { same(found: unknown, wanted: unknown, message: string): unknown }): Promise<void> {
    await this.launcher.close();
    await until('everything to be gone', () => this.leftovers().length === 0).catch(() => undefined);
    const left = this.leftovers();
    t.same(left, [], 'nothing is left');
    if (left.length > 0) await this.#takeDown();
    await this.#receiver.close();
    closeSync(this.#logFd);
    rmSync(this.directory, { recursive: true });
  }
}

/** Resolves when the process has ended. */
export async function gone(process: ProcessIdentity): Promise<void> {
  await until(`process ${process.pid} to be gone`, () => !isAlive(process));
}

function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

function text(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
