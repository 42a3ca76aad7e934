/**
 * A real shim process with a real bundle, driven over ttrpc as a supervisor would, and everything it may leave behind
 * accounted for.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { taskV3, typeUrls } from '@gantry/api/shim';
import type { taskV3 as task } from '@gantry/api/shim';
import { TtrpcClient } from '@gantry/ttrpc';
import { forkingFlags } from '../forking-flags.ts';
import { SupervisorDouble } from './supervisor-double.ts';

/** Why these tests cannot run here; undefined when they can. */
export function cannotRunContainers(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  return existsSync('/bin/busybox') ? undefined : 'needs the static busybox in /bin';
}

const mainScript = fileURLToPath(new URL('../main.js', import.meta.url));
const namespace = 'shim-test';
const applets = [
  'sh',
  'true',
  'false',
  'sleep',
  'cat',
  'echo',
  'stty',
  'head',
  'tr',
  'yes',
  'kill',
  'id',
  'wc',
  'dd',
  'tail',
  'ls',
];

/** A busybox root file system, shared by the containers of one test file. */
export function makeRootfs(directory: string): string {
  const rootfs = join(directory, 'rootfs');
  for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc']) mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(rootfs, 'bin', applet));
  return rootfs;
}

export interface BundleOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  /** Namespaces the container gets of its own. */
  readonly namespaces?: readonly string[];
  readonly memoryLimitBytes?: number;
}

const standardNamespaces = ['pid', 'mount', 'ipc', 'uts', 'network'];
const capabilities = ['CAP_KILL', 'CAP_CHOWN', 'CAP_SETUID', 'CAP_SETGID'];

function makeSpec(rootfs: string, cgroup: string, options: BundleOptions): object {
  const { args, terminal = false, namespaces = standardNamespaces, memoryLimitBytes } = options;
  return {
    ociVersion: '1.1.0',
    process: {
      terminal,
      user: { uid: 0, gid: 0 },
      args,
      env: ['PATH=/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: false },
    ...(namespaces.includes('uts') ? { hostname: 'shim-test' } : {}),
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=65536k'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      cgroupsPath: cgroup,
      namespaces: namespaces.map((type) => ({ type })),
      ...(memoryLimitBytes === undefined ? {} : { resources: { memory: { limit: memoryLimitBytes } } }),
    },
  };
}

/** One file's scratch directory, with its rootfs and its share of the cgroup tree. */
export class Place {
  readonly directory = mkdtempSync(join(tmpdir(), 'gantry-shim-'));
  readonly rootfs = makeRootfs(this.directory);
  readonly cgroup = `/gantry-test-${randomBytes(4).toString('hex')}`;
  readonly #shims = new Set<ShimUnderTest>();
  #count = 0;

  async start(bundle: BundleOptions): Promise<ShimUnderTest> {
    const shim = await ShimUnderTest.start(this, `c${++this.#count}`, bundle);
    this.#shims.add(shim);
    return shim;
  }

  /** What was left behind by the containers of this place; empty when all is well. */
  leaks(): string[] {
    const leaks: string[] = [];
    for (const pid of pidsUnder(this.directory)) leaks.push(`process ${pid}`);
    for (const path of cgroupDirectories(this.cgroup)) leaks.push(`cgroup ${path}`);
    // Others mount and unmount meanwhile; ours have this directory as their source or their place.
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    for (const line of mounts) if (line.includes(this.directory)) leaks.push(`mount ${line}`);
    for (const name of readdirSync(this.directory)) if (name.endsWith('.sock')) leaks.push(`socket ${name}`);
    return leaks;
  }

  async endAll(): Promise<void> {
    for (const shim of this.#shims) await shim.end();
  }

  async remove(): Promise<void> {
    await this.endAll();
    rmSync(this.directory, { recursive: true });
  }
}

/** Processes whose working directory or root is below the directory: shims and containers of this place. */
function pidsUnder(directory: string): number[] {
  const links = (pid: string): string[] =>
    ['cwd', 'root'].map((name) => {
      try {
        return readlinkSync(`/proc/${pid}/${name}`);
      } catch {
        return '';
      }
    });
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && links(name).some((path) => path.startsWith(directory)))
    .map(Number);
}

function cgroupDirectories(path: string): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return mounts
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => `${line.split(' ')[4] ?? ''}${path}`)
    .filter((directory) => existsSync(directory));
}

export interface Stdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

const noStdio: Stdio = { stdin: '', stdout: '', stderr: '' };

export class ShimUnderTest {
  readonly id: string;
  readonly bundle: string;
  readonly socket: string;
  readonly supervisor: SupervisorDouble;
  readonly child: ChildProcess;
  readonly exited: Promise<number | string>;
  readonly #terminal: boolean;
  #client: TtrpcClient;

  private constructor(given: {
    id: string;
    bundle: string;
    socket: string;
    supervisor: SupervisorDouble;
    child: ChildProcess;
    client: TtrpcClient;
    terminal: boolean;
  }) {
    this.id = given.id;
    this.bundle = given.bundle;
    this.socket = given.socket;
    this.supervisor = given.supervisor;
    this.child = given.child;
    this.#client = given.client;
    this.#terminal = given.terminal;
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => resolve(code ?? signal ?? 'nothing'));
    });
  }

  static async start(place: Place, id: string, options: BundleOptions): Promise<ShimUnderTest> {
    const bundle = join(place.directory, id);
    mkdirSync(bundle);
    writeFileSync(
      join(bundle, 'config.json'),
      JSON.stringify(makeSpec(place.rootfs, `${place.cgroup}/${id}`, options)),
    );
    const supervisor = new SupervisorDouble(join(place.directory, `${id}.sup.sock`));
    await supervisor.listen();
    const socket = join(place.directory, `${id}.sock`);
    const log = openSync(join(bundle, 'log'), 'a');
    const flags = ['-namespace', namespace, '-id', id, '-address', '/nowhere', '-bundle', bundle, '-socket', socket];
    const child = spawn(process.execPath, [...forkingFlags, mainScript, ...flags, '-debug'], {
      cwd: bundle,
      detached: true,
      stdio: ['ignore', 'pipe', log],
      env: { PATH: '/usr/bin:/bin', TTRPC_ADDRESS: supervisor.path, NAMESPACE: namespace },
    });
    closeSync(log);
    const line = await firstLine(child);
    if (!line.includes(`unix://${socket}`))
      throw new Error(`bootstrap line ${line}: ${readFileSync(join(bundle, 'log'), 'utf8')}`);
    const client = await TtrpcClient.connect(socket, { timeoutMs: 5000 });
    return new ShimUnderTest({ id, bundle, socket, supervisor, child, client, terminal: options.terminal ?? false });
  }

  get log(): string {
    return readFileSync(join(this.bundle, 'log'), 'utf8');
  }

  async create(stdio: Stdio = noStdio): Promise<number> {
    const request = taskV3.CreateTaskRequest.create({
      id: this.id,
      bundle: this.bundle,
      terminal: this.#terminal,
      ...stdio,
    });
    return (await this.#client.call(taskV3.TaskService, 'create', request, { timeoutMs: 20_000 })).pid;
  }

  async begin(execId = ''): Promise<number> {
    const request = taskV3.StartRequest.create({ id: this.id, execId });
    return (await this.#client.call(taskV3.TaskService, 'start', request, { timeoutMs: 20_000 })).pid;
  }

  /** Create and Start. */
  async run(stdio: Stdio = noStdio): Promise<number> {
    await this.create(stdio);
    return await this.begin();
  }

  async exec(execId: string, args: readonly string[], stdio: Stdio = noStdio, terminal = false): Promise<void> {
    const spec = { args, cwd: '/', env: ['PATH=/bin', 'TERM=xterm'], user: { uid: 0, gid: 0 }, terminal };
    const value = Buffer.from(JSON.stringify(spec));
    const request = { id: this.id, execId, terminal, ...stdio, spec: { typeUrl: typeUrls.process, value } };
    await this.#client.call(taskV3.TaskService, 'exec', taskV3.ExecProcessRequest.create(request));
  }

  async wait(execId = ''): Promise<task.WaitResponse> {
    const request = taskV3.WaitRequest.create({ id: this.id, execId });
    return await this.#client.call(taskV3.TaskService, 'wait', request, { timeoutMs: 20_000 });
  }

  async delete(execId = ''): Promise<task.DeleteResponse> {
    const request = taskV3.DeleteRequest.create({ id: this.id, execId });
    return await this.#client.call(taskV3.TaskService, 'delete', request, { timeoutMs: 20_000 });
  }

  async kill(signal: number, options: { execId?: string; all?: boolean } = {}): Promise<void> {
    const request = taskV3.KillRequest.create({
      id: this.id,
      execId: options.execId ?? '',
      signal,
      all: options.all ?? false,
    });
    await this.#client.call(taskV3.TaskService, 'kill', request);
  }

  async state(execId = ''): Promise<task.StateResponse> {
    return await this.#client.call(taskV3.TaskService, 'state', taskV3.StateRequest.create({ id: this.id, execId }));
  }

  async pids(): Promise<task.PidsResponse> {
    return await this.#client.call(taskV3.TaskService, 'pids', taskV3.PidsRequest.create({ id: this.id }));
  }

  async stats(): Promise<task.StatsResponse> {
    return await this.#client.call(taskV3.TaskService, 'stats', taskV3.StatsRequest.create({ id: this.id }));
  }

  async pause(): Promise<void> {
    await this.#client.call(taskV3.TaskService, 'pause', taskV3.PauseRequest.create({ id: this.id }));
  }

  async resume(): Promise<void> {
    await this.#client.call(taskV3.TaskService, 'resume', taskV3.ResumeRequest.create({ id: this.id }));
  }

  async closeStdin(execId = ''): Promise<void> {
    const request = taskV3.CloseIORequest.create({ id: this.id, execId, stdin: true });
    await this.#client.call(taskV3.TaskService, 'closeIO', request);
  }

  async resize(width: number, height: number, execId = ''): Promise<void> {
    const request = taskV3.ResizePtyRequest.create({ id: this.id, execId, width, height });
    await this.#client.call(taskV3.TaskService, 'resizePty', request);
  }

  async update(resources: object): Promise<void> {
    const value = Buffer.from(JSON.stringify(resources));
    const request = taskV3.UpdateTaskRequest.create({
      id: this.id,
      resources: { typeUrl: typeUrls.linuxResources, value },
    });
    await this.#client.call(taskV3.TaskService, 'update', request);
  }

  async checkpoint(): Promise<void> {
    await this.#client.call(taskV3.TaskService, 'checkpoint', taskV3.CheckpointTaskRequest.create({ id: this.id }));
  }

  async connect(): Promise<task.ConnectResponse> {
    return await this.#client.call(taskV3.TaskService, 'connect', taskV3.ConnectRequest.create({ id: this.id }));
  }

  async shutdown(): Promise<void> {
    await this.#client.call(taskV3.TaskService, 'shutdown', taskV3.ShutdownRequest.create({ id: this.id }));
  }

  /** Another connection, as a supervisor makes it after its own restart. */
  async reconnect(): Promise<void> {
    this.#client.close();
    this.#client = await TtrpcClient.connect(this.socket, { timeoutMs: 5000 });
  }

  /** Makes the three fifos of a client. */
  fifos(name = 'io'): Stdio {
    const path = (stream: string): string => join(this.bundle, `${name}-${stream}`);
    const stdio = { stdin: path('stdin'), stdout: path('stdout'), stderr: path('stderr') };
    execFileSync('mkfifo', Object.values(stdio));
    return stdio;
  }

  /** Runs the binary's `delete` action on the bundle, as after a shim's death. */
  deleteAction(): task.DeleteResponse {
    const flags = ['-namespace', namespace, '-id', this.id, '-address', '/nowhere', '-bundle', this.bundle, 'delete'];
    const result = spawnSync(process.execPath, [mainScript, ...flags], { cwd: this.bundle });
    if (result.status !== 0) throw new Error(`delete: ${result.status} ${result.stderr.toString()}`);
    return taskV3.DeleteResponse.decode(result.stdout);
  }

  /** Delete, Shutdown, and the end of the process. Returns its exit code. */
  async finish(): Promise<number | string> {
    await this.delete();
    await this.shutdown();
    const code = await this.exited;
    await this.end();
    return code;
  }

  /** Takes everything away, whatever state it is in. */
  async end(): Promise<void> {
    this.#client.close();
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGKILL');
      await this.exited;
      this.deleteAction();
    }
    await this.supervisor.close();
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  return await new Promise((resolve) => {
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.stdout?.once('end', () => resolve(text));
    child.stdout?.on('data', () => {
      if (text.includes('\n')) resolve(text);
    });
  });
}
