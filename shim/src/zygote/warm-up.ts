/**
 * Exercises what a shim does, so that its code is compiled and its shapes are known on pages that all shims share.
 *
 * Whole lives are lived: a spare is made, adopted, creates and starts a container, runs an exec, sees both end, deletes
 * and shuts down, over real sockets, with a client and an event receiver in this same process. Only what would touch the
 * machine or this process is played: the runtime's container, the deaths, and a few calls.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventsTtrpc, gantryShim, packAny, runcOptions, taskV3 } from '@gantry/api/shim';
import type { Cgroup, OomWatch } from '@gantry/cgroups';
import { AT_FDCWD, linux, S_IFIFO } from '@gantry/libc';
import type { Syscalls, WaitResult } from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import { warmUp } from '@gantry/runtime';
import type { Container } from '@gantry/runtime';
import { TtrpcClient, TtrpcServer } from '@gantry/ttrpc';
import { lineLog } from '../log.ts';
import { firstLookMs } from '../oom-watch.ts';
import { runSpare } from '../run-shim.ts';
import { version } from '../version.ts';

const rounds = 6;
const initPid = 2 ** 22 + 1;
const execPid = 2 ** 22 + 2;
const timeoutMs = 5000;

/** `scratch` is an empty directory of ours that may hold sockets. It is empty again afterwards. */
export async function warmUpShim(scratch: string): Promise<void> {
  warmUp();
  const eventsPath = join(scratch, 'events');
  const receiver = new TtrpcServer().register(eventsTtrpc.EventsService, { forward: () => ({}) });
  await receiver.listen(eventsPath);
  try {
    for (let round = 0; round < rounds; round++)
      await liveOnce(scratch, eventsPath, { withFifos: round % 2 === 0, isLong: round === 0 });
  } finally {
    await receiver.close();
    process.chdir('/');
  }
}

/** How one life differs from another: a long one lasts until the shim has looked after its container. */
interface Life {
  readonly withFifos: boolean;
  readonly isLong: boolean;
}

async function liveOnce(scratch: string, events: string, { withFifos, isLong }: Life): Promise<void> {
  const deaths: WaitResult[] = [];
  const socketPath = join(scratch, 'spare');
  let listening = (): void => undefined;
  const ready = new Promise<void>((resolve) => {
    listening = resolve;
  });
  const life = runSpare({
    version,
    sys: playedCalls(deaths),
    createContainer: () => playedContainer(),
    restoreContainer: () => playedContainer(),
    makeLog: ({ debug }) => lineLog({ debug, fd: -1 }),
    socketPath,
    announce: () => listening(),
  });
  await Promise.race([ready, life]);
  const client = await TtrpcClient.connect(socketPath, { timeoutMs });
  const die = (pid: number): void => {
    deaths.push({ pid, exitStatus: 0, signal: 0 });
    process.emit('SIGCHLD');
  };
  const bundle = join(scratch, 'bundle');
  try {
    mkdirSync(bundle);
    await callThrough(
      client,
      { bundle, socket: join(scratch, 'socket'), events },
      withFifos ? makeFifos(bundle) : noStdio,
      die,
      isLong ? 2 * firstLookMs : 0,
    );
    await life;
  } finally {
    client.close();
    rmSync(bundle, { recursive: true, force: true });
  }
}

interface Places {
  readonly bundle: string;
  readonly socket: string;
  readonly events: string;
}

const noStdio = { stdin: '', stdout: '', stderr: '' };

function makeFifos(bundle: string): typeof noStdio {
  const [stdin = '', stdout = '', stderr = ''] = ['in', 'out', 'err'].map((name) => {
    const path = join(bundle, name);
    linux.mknodat(AT_FDCWD, path, S_IFIFO | 0o600, 0n);
    return path;
  });
  return { stdin, stdout, stderr };
}

/** What gantryd and its clients call, in their usual order. */
async function callThrough(
  client: TtrpcClient,
  places: Places,
  stdio: typeof noStdio,
  die: (pid: number) => void,
  restMs: number,
): Promise<void> {
  const namespace = 'warm-up';
  const id = 'warm-up';
  const task = taskV3.TaskService;
  const options = Buffer.from('{}\n');
  const config = Buffer.from(spec);
  const wanted = { namespace, id, ...places, config, options };
  const adopted = client.call(gantryShim.SpareService, 'adopt', wanted, { timeoutMs });
  const runtime = packAny(runcOptions.Options, runcOptions.Options.create({ binaryName: 'runc' }));
  const rootfs = [{ type: 'overlay', source: 'overlay', options: ['lowerdir=/a', 'upperdir=/b', 'workdir=/c'] }];
  const create = { id, bundle: places.bundle, rootfs, ...stdio, options: runtime };
  await Promise.all([adopted, client.call(task, 'create', create, { timeoutMs })]);
  await client.call(task, 'connect', { id }, { timeoutMs });
  const ended = client.call(task, 'wait', { id });
  await client.call(task, 'start', { id }, { timeoutMs });
  await client.call(task, 'state', { id }, { timeoutMs });
  if (restMs > 0) await sleep(restMs);
  await client.call(task, 'closeIO', { id, stdin: true }, { timeoutMs });
  const execId = 'exec';
  const process = packedProcess;
  await client.call(task, 'exec', { id, execId, spec: process, ...stdio }, { timeoutMs });
  const execEnded = client.call(task, 'wait', { id, execId });
  await client.call(task, 'start', { id, execId }, { timeoutMs });
  await client.call(task, 'pids', { id }, { timeoutMs });
  die(execPid);
  await execEnded;
  await client.call(task, 'delete', { id, execId }, { timeoutMs });
  await client.call(task, 'kill', { id, signal: 15 }, { timeoutMs });
  die(initPid);
  await ended;
  await client.call(task, 'delete', { id }, { timeoutMs });
  await client.call(task, 'shutdown', { id }, { timeoutMs });
}

const processJson = {
  user: { uid: 0, gid: 0 },
  args: ['/bin/true'],
  cwd: '/',
  env: ['PATH=/bin'],
  capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
  noNewPrivileges: true,
};
const packedProcess = {
  typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  value: Buffer.from(JSON.stringify(processJson)),
};
const spec = JSON.stringify({
  ociVersion: '1.1.0',
  process: processJson,
  root: { path: 'rootfs' },
  hostname: 'warm-up',
  mounts: [{ destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] }],
  linux: {
    resources: { devices: [{ allow: false, access: 'rwm' }] },
    cgroupsPath: '/warm-up',
    namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })),
    maskedPaths: ['/proc/kcore'],
    readonlyPaths: ['/proc/sys'],
  },
});

/** The kernel's calls, but this process keeps its standard error and its children, and the deaths are those given. */
function playedCalls(deaths: WaitResult[]): Syscalls {
  return {
    ...linux,
    dup2: () => undefined,
    prctl: () => 0,
    ignoreSignal: () => undefined,
    wait4: () => deaths.shift(),
  };
}

/** Readable at once, and then no more. */
function playedNotice(): OomWatch {
  const fd = linux.eventfd(1);
  const count = Buffer.alloc(8);
  const read = (): number => {
    linux.read(fd, count);
    return 0;
  };
  return { fd, read, close: () => linux.close(fd) };
}

function playedContainer(): Container {
  const nothing = (): undefined => undefined;
  return {
    id: 'warm-up',
    pid: initPid,
    startTime: 1n,
    cgroup: { killAll: nothing, oomKills: () => 0 } as unknown as Cgroup,
    spec: parseSpec(spec),
    console: undefined,
    hasPrivatePidNamespace: true,
    start: nothing,
    exec: () => ({ pid: execPid, startTime: 1n, console: undefined }),
    kill: nothing,
    pause: nothing,
    resume: nothing,
    isPaused: () => false,
    pids: () => [initPid, execPid],
    update: nothing,
    checkpoint: nothing,
    stats: () => {
      throw new Error('the warm-up asks for no statistics');
    },
    watchOom: playedNotice,
    destroy: nothing,
  };
}
