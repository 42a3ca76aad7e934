/**
 * A gantryd driven through its API alone: no image, no client's command; containers of one shared busybox. For what needs
 * the error's code, the moment, or the number.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type t from 'tap';
import { containers, tasks, typeUrls } from '@gantry/api';
import { until } from './command.ts';
import { gantryd } from './gantryd.ts';
import type { DaemonProcess } from './gantryd.ts';
import { hostState, leaks, processesWith } from './leaks.ts';
import { Rpc } from './rpc.ts';
import type { RpcOptions } from './rpc.ts';
import { removeScratch, scratchDirectory, scratchNamespace } from './scratch.ts';
import { busyboxBinary } from './tarball.ts';

/** gRPC's status numbers that these tests speak of. */
export const grpcStatus = {
  cancelled: 1,
  notFound: 5,
  alreadyExists: 6,
  resourceExhausted: 8,
  unavailable: 14,
} as const;

/** How a call ended: `ok`, or the status number and the message. */
export interface Outcome {
  readonly code: number;
  readonly message: string;
}

export interface ApiBoxOptions {
  /** gantryd's configuration file. */
  readonly config?: string;
  /** What runs gantryd: a node program, and what is before it; this process's if not given. */
  readonly runner?: readonly string[];
}

const specUrl = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const SIGKILL = 9;

export class ApiBox {
  readonly dir = scratchDirectory();
  readonly namespace = scratchNamespace();
  readonly daemon: DaemonProcess & { root: string; state: string };
  #rpc: Rpc | undefined;

  constructor({ config = '', runner }: ApiBoxOptions = {}) {
    const configFile = path.join(this.dir, 'config.toml');
    writeFileSync(configFile, config);
    this.daemon = gantryd(this.dir, ['--config', configFile], undefined, runner);
    const rootfs = path.join(this.dir, 'rootfs');
    for (const name of ['bin', 'proc', 'dev']) mkdirSync(path.join(rootfs, name), { recursive: true });
    writeFileSync(path.join(rootfs, 'bin/busybox'), busyboxBinary(), { mode: 0o755 });
  }

  /** Starts gantryd, or starts it again. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#rpc?.close();
    await this.daemon.start(env);
    this.#rpc = new Rpc(this.daemon.address);
  }

  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.daemon.stop();
    await this.start(env);
  }

  bundleOf(id: string): string {
    return path.join(this.daemon.state, 'shims', this.namespace, id);
  }

  /** The pid in the bundle's note of who its shim is; undefined when there is no bundle yet. */
  shimOf(id: string): number | undefined {
    const file = path.join(this.bundleOf(id), 'shim.pid');
    const pid = existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : Number.NaN;
    return Number.isNaN(pid) ? undefined : pid;
  }

  /** A container record; `args` are busybox's. */
  async make(id: string, args: readonly string[] = ['sleep', '10000']): Promise<void> {
    const spec = {
      ociVersion: '1.0.2',
      root: { path: path.join(this.dir, 'rootfs') },
      process: { args: ['/bin/busybox', ...args], cwd: '/', user: { uid: 0, gid: 0 } },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
        // Many share the rootfs: what the runtime makes in /dev is each one's own.
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ],
      linux: { cgroupsPath: `/${this.namespace}/${id}`, namespaces: [{ type: 'mount' }, { type: 'pid' }] },
    };
    const container = {
      id,
      runtime: { name: 'io.containerd.runc.v2' },
      spec: { typeUrl: specUrl, value: Buffer.from(JSON.stringify(spec)) },
    };
    const { ContainersService, CreateContainerRequest } = containers;
    await this.#call(ContainersService, 'create', CreateContainerRequest.create({ container }));
  }

  /** Tasks.Create; resolves to the pid. */
  async create(id: string, options: RpcOptions = {}): Promise<number> {
    const request = tasks.CreateTaskRequest.create({ containerId: id });
    return ((await this.#call(tasks.TasksService, 'create', request, options)) as { pid: number }).pid;
  }

  async startTask(id: string): Promise<void> {
    await this.#call(tasks.TasksService, 'start', tasks.StartRequest.create({ containerId: id }));
  }

  /** Container, task, start; resolves to the pid. */
  async run(id: string, args?: readonly string[]): Promise<number> {
    await this.make(id, args);
    const pid = await this.create(id);
    await this.startTask(id);
    return pid;
  }

  /** Runs a program of busybox in a container to its end; resolves to its exit status. */
  async exec(id: string, execId: string, args: readonly string[]): Promise<number> {
    const process = { args: ['/bin/busybox', ...args], cwd: '/', user: { uid: 0, gid: 0 } };
    const spec = { typeUrl: typeUrls.process, value: Buffer.from(JSON.stringify(process)) };
    const it = { containerId: id, execId };
    const { DeleteProcessRequest, ExecProcessRequest, StartRequest, TasksService, WaitRequest } = tasks;
    await this.#call(TasksService, 'exec', ExecProcessRequest.create({ ...it, spec }));
    try {
      await this.#call(TasksService, 'start', StartRequest.create(it));
      return ((await this.#call(TasksService, 'wait', WaitRequest.create(it))) as { exitStatus: number }).exitStatus;
    } finally {
      await this.#call(TasksService, 'deleteProcess', DeleteProcessRequest.create(it));
    }
  }

  async kill(id: string): Promise<void> {
    await this.#call(tasks.TasksService, 'kill', tasks.KillRequest.create({ containerId: id, signal: SIGKILL }));
  }

  /** Tasks.Wait; resolves to the exit status. */
  async wait(id: string): Promise<number> {
    const ended = await this.#call(tasks.TasksService, 'wait', tasks.WaitRequest.create({ containerId: id }));
    return (ended as { exitStatus: number }).exitStatus;
  }

  /** Tasks.Delete; resolves to the exit status. */
  async deleteTask(id: string): Promise<number> {
    const ended = await this.#call(tasks.TasksService, 'delete', tasks.DeleteTaskRequest.create({ containerId: id }));
    return (ended as { exitStatus: number }).exitStatus;
  }

  /** Containers.Delete. */
  async deleteContainer(id: string): Promise<void> {
    await this.#call(containers.ContainersService, 'delete', containers.DeleteContainerRequest.create({ id }));
  }

  /** The whole end of a task that runs or was created: kill, wait, delete, and its container. */
  async remove(id: string): Promise<void> {
    await this.kill(id);
    await this.wait(id);
    await this.deleteTask(id);
    await this.deleteContainer(id);
  }

  /** Task id → its status number, 0 for unknown. */
  async tasks(): Promise<Map<string, number>> {
    const listed = await this.#call(tasks.TasksService, 'list', tasks.ListTasksRequest.create({}));
    return new Map((listed as tasks.ListTasksResponse).tasks.map(({ id, status }) => [id, status]));
  }

  /** The processes of this gantryd whose command line holds all the words. */
  processes(...words: readonly string[]): number[] {
    return processesWith([this.dir, this.namespace])
      .filter((line) => words.every((word) => line.includes(word)))
      .map((line) => Number(/^process (\d+)/.exec(line)?.[1]));
  }

  /** The zygote's pid; undefined when there is none. */
  zygote(): number | undefined {
    return readdirSync('/proc')
      .map(Number)
      .find((pid) => {
        if (Number.isNaN(pid)) return false;
        const [name, parent] = [readOrEmpty(`/proc/${pid}/cmdline`), readOrEmpty(`/proc/${pid}/status`)];
        return name.includes('gantry-zygote') && parent.includes(`\nPPid:\t${this.daemon.pid}\n`);
      });
  }

  /** Spares that listen. */
  spares(): number[] {
    return this.processes('containerd-shim-gantry-v1 -spare ');
  }

  /** The lines of gantryd's log of this level and above (30 info, 40 warn, 50 error), parsed. */
  logged(level: number): readonly { readonly msg: string; readonly level: number; readonly [key: string]: unknown }[] {
    return this.daemon
      .log()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { msg: string; level: number })
      .filter((line) => line.level >= level);
  }

  /** Tasks, bundles, sockets and records that are there. */
  async remains(): Promise<string[]> {
    const list = (name: string): string[] => {
      const dir = path.join(this.daemon.state, name);
      return existsSync(dir) ? readdirSync(dir).map((entry) => `${name}/${entry}`) : [];
    };
    return [...(await this.tasks()).keys(), ...list(`shims/${this.namespace}`), ...list('s')];
  }

  /** Stops gantryd and checks that nothing is left on the host. */
  async end(test: Pick<typeof t, 'same'>): Promise<void> {
    const isEmpty = async (): Promise<boolean> => (await this.remains()).length === 0;
    await until('nothing to remain', isEmpty).catch(() => undefined);
    test.same(await this.remains(), [], 'nothing is left in gantryd');
    await this.#takeDown();
    this.#rpc?.close();
    await this.daemon.stop();
    // No client's command was run: what comes and goes in the clients' directories is somebody else's.
    const left = (): string[] => leaks(hostState(), [this.dir, this.namespace]);
    await until('nothing to be left', () => left().length === 0).catch(() => undefined);
    test.same(left(), [], 'nothing is left on the host');
    removeScratch(this.dir);
  }

  /** After a failure: ends every task there is. */
  async #takeDown(): Promise<void> {
    for (const id of (await this.tasks()).keys()) {
      await outcome(this.kill(id));
      await outcome(this.wait(id));
      await outcome(this.deleteTask(id));
    }
  }

  #call(...[service, method, request, options]: Parameters<Rpc['call']>): Promise<unknown> {
    if (this.#rpc === undefined) throw new Error('gantryd was not started');
    return this.#rpc.call(service, method, request, { namespace: this.namespace, timeoutMs: 60_000, ...options });
  }
}

/** How a call ended; code 0 when it succeeded. */
export function outcome(call: Promise<unknown>): Promise<Outcome> {
  return call.then(
    () => ({ code: 0, message: '' }),
    (err: unknown) => {
      const { code, details } = err as { code: number; details: string };
      return { code, message: details };
    },
  );
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
