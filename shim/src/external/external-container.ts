/**
 * A container of somebody else's OCI runtime, behind the same seam as one of ours: the runtime's command is run for each
 * verb, its processes end up below this shim, which is a subreaper, and everything around them (stdio, exits, events,
 * limits of memory) stays as it is.
 *
 *   shim                                                  runtime
 *   rootfs mounted on BUNDLE/rootfs
 *   create --bundle --pid-file [--console-socket]   ───►  clones init, ends
 *   accepts the console                             ◄───  the pty's master
 *   start · exec --detach · kill · pause · resume · update · checkpoint · delete; restore in the place of create and start
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { detectCgroups, openCgroup, ownCgroupPaths } from '@gantry/cgroups';
import type { Cgroup, CgroupStats, OomWatch } from '@gantry/cgroups';
import { deadlineExceeded, failedPrecondition, messageOf, notFound, unknown, wrap } from '@gantry/errors';
import { POLLIN, processStartTime, SOCK_STREAM } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { LinuxResources, Spec } from '@gantry/oci';
import type {
  CheckpointRequest,
  Container,
  CreateRequest,
  ExecRequest,
  ExecutedProcess,
  RestoreRequest,
  Stdio,
} from '@gantry/runtime';
import { mountRootfs } from '@gantry/runtime';
import { deleteExternal, rootfsOf, writeNote } from './external-note.ts';
import type { ExternalNote } from './external-note.ts';
import { OciCommand } from './oci-command.ts';
import type { OciRuntime } from './oci-command.ts';

/** Whatever takes no noticeable time. */
const callTimeoutMs = 30_000;
/** The console is sent before the command ends. */
const consoleTimeoutMs = 2000;

const nowhere: Stdio = { stdin: -1, stdout: -1, stderr: -1 };

/** Creates a container by the runtime. Throws what it complains of; nothing is left then. */
export function createExternal(sys: Syscalls, runtime: OciRuntime, request: CreateRequest): Container {
  const { noNewKeyring, timeoutMs } = request;
  const flags = noNewKeyring === true ? ['--no-new-keyring'] : [];
  return makeExternal(sys, runtime, request, { verb: 'create', flags, timeoutMs });
}

/** Has the runtime restore a container. Throws what it complains of; nothing is left then. */
export function restoreExternal(sys: Syscalls, runtime: OciRuntime, request: RestoreRequest): Container {
  const { imagePath, workPath = imagePath, timeoutMs } = request.checkpoint;
  const flags = ['--image-path', imagePath, '--work-path', workPath, '--detach', '--no-subreaper'];
  return makeExternal(sys, runtime, request, { verb: 'restore', flags, timeoutMs });
}

/** The command that makes the container. */
interface MakingCommand {
  readonly verb: 'create' | 'restore';
  /** Beside those that every such command has. */
  readonly flags: readonly string[];
  readonly timeoutMs: number;
}

function makeExternal(
  sys: Syscalls,
  runtime: OciRuntime,
  request: Omit<CreateRequest, 'timeoutMs'>,
  making: MakingCommand,
): Container {
  const { bundle, id } = request;
  const note = { ...runtime, id };
  writeNote(bundle, note);
  try {
    return make(sys, note, request, making);
  } catch (err) {
    try {
      deleteExternal(sys, bundle, note);
    } catch (more) {
      throw wrap(err, `${messageOf(more)}; before that`);
    }
    throw err;
  }
}

function make(
  sys: Syscalls,
  note: ExternalNote,
  request: Omit<CreateRequest, 'timeoutMs'>,
  { verb, flags: own, timeoutMs }: MakingCommand,
): Container {
  const { bundle, id, noPivot, rootfs, spec, stdio } = request;
  const command = new OciCommand(sys, note, bundle);
  if (rootfs.length > 0) {
    mkdirSync(rootfsOf(bundle), { recursive: true, mode: 0o711 });
    mountRootfs(sys, request, rootfsOf(bundle));
  }
  const terminal = spec.process?.terminal === true;
  const pidFile = join(bundle, 'init.pid');
  const flags = [...(noPivot === true ? ['--no-pivot'] : []), ...own];
  const words = (console: readonly string[]) => [
    verb,
    '--bundle',
    bundle,
    '--pid-file',
    pidFile,
    ...flags,
    ...console,
    id,
  ];
  const console = withConsole(sys, bundle, terminal, (options) =>
    command.call(words(options), { stdio: terminal ? nowhere : stdio, timeoutMs }),
  );
  return new ExternalContainer(sys, command, { note, bundle, spec, pid: readPid(pidFile), console });
}

interface ExternalParts {
  readonly note: ExternalNote;
  readonly bundle: string;
  readonly spec: Spec;
  readonly pid: number;
  readonly console: number | undefined;
}

class ExternalContainer implements Container {
  readonly #sys: Syscalls;
  readonly #command: OciCommand;
  readonly #parts: ExternalParts;
  readonly #cgroup: Cgroup | undefined;
  readonly startTime: bigint;
  #paused = false;
  #destroyed = false;

  constructor(sys: Syscalls, command: OciCommand, parts: ExternalParts) {
    this.#sys = sys;
    this.#command = command;
    this.#parts = parts;
    this.startTime = processStartTime(parts.pid) ?? 0n;
    this.#cgroup = cgroupOf(parts.pid);
  }

  get id(): string {
    return this.#parts.note.id;
  }
  get pid(): number {
    return this.#parts.pid;
  }
  /** Throws failed precondition when the runtime made none of its own for the container. */
  get cgroup(): Cgroup {
    if (this.#cgroup === undefined) throw failedPrecondition(`container ${this.id} has no control group of its own`);
    return this.#cgroup;
  }
  get spec(): Spec {
    return this.#parts.spec;
  }
  get console(): number | undefined {
    return this.#parts.console;
  }
  get hasPrivatePidNamespace(): boolean {
    const pid = this.spec.linux?.namespaces?.find(({ type }) => type === 'pid');
    return pid !== undefined && (pid.path ?? '') === '';
  }

  start(): void {
    this.#call('start', this.id);
  }

  exec({ process, stdio, timeoutMs }: ExecRequest): ExecutedProcess {
    const { bundle } = this.#parts;
    const [specFile, pidFile] = [join(bundle, '.exec.json'), join(bundle, '.exec.pid')];
    const terminal = process.terminal === true;
    try {
      writeFileSync(specFile, JSON.stringify(process), { mode: 0o600 });
      const words = ['exec', '--process', specFile, '--detach', '--pid-file', pidFile];
      const console = withConsole(this.#sys, bundle, terminal, (options) =>
        this.#command.call([...words, ...options, this.id], { stdio: terminal ? nowhere : stdio, timeoutMs }),
      );
      const pid = readPid(pidFile);
      return { pid, startTime: processStartTime(pid) ?? 0n, console };
    } finally {
      for (const file of [specFile, pidFile]) rmSync(file, { force: true });
    }
  }

  kill(signal: number, options: { readonly all?: boolean } = {}): void {
    if (options.all === true && this.#cgroup !== undefined) {
      if (this.#cgroup.killAll(signal) === 0) throw notFound('process already finished');
      return;
    }
    this.#call('kill', ...(options.all === true ? ['--all'] : []), this.id, String(signal));
  }

  pause(): void {
    this.#call('pause', this.id);
    this.#paused = true;
  }

  resume(): void {
    this.#call('resume', this.id);
    this.#paused = false;
  }

  isPaused(): boolean {
    return this.#paused;
  }

  pids(): number[] {
    return this.#cgroup === undefined ? [this.pid] : this.#cgroup.pids();
  }

  update(resources: LinuxResources): void {
    const input = JSON.stringify(resources);
    this.#command.call(['update', '--resources', '-', this.id], { input, timeoutMs: callTimeoutMs });
  }

  checkpoint(request: CheckpointRequest): void {
    const { cgroupsMode, imagePath, parentPath, timeoutMs, workPath } = request;
    const switches = {
      '--leave-running': request.leaveRunning,
      '--tcp-established': request.tcpEstablished,
      '--ext-unix-sk': request.externalUnixSockets,
      '--shell-job': request.shellJob,
      '--file-locks': request.fileLocks,
    };
    const words = [
      'checkpoint',
      '--image-path',
      imagePath,
      ...(workPath === undefined ? [] : ['--work-path', workPath]),
      ...(parentPath === undefined ? [] : ['--parent-path', parentPath]),
      ...(cgroupsMode === undefined ? [] : ['--manage-cgroups-mode', cgroupsMode]),
      ...((request.emptyNamespaces ?? 0) === 0 ? [] : ['--empty-ns', 'network']),
      ...Object.entries(switches).flatMap(([name, on]) => (on === true ? [name] : [])),
    ];
    this.#command.call([...words, this.id], { timeoutMs });
  }

  stats(): CgroupStats {
    return this.cgroup.stats();
  }

  watchOom(seen?: number): OomWatch {
    return this.cgroup.watchOom(seen);
  }

  destroy(): void {
    if (this.#destroyed) return;
    deleteExternal(this.#sys, this.#parts.bundle, this.#parts.note);
    this.#destroyed = true;
  }

  #call(...words: readonly string[]): void {
    this.#command.call(words, { timeoutMs: callTimeoutMs });
  }
}

/**
 * The group that the runtime put a process into; undefined when that is none of its own: then it is not the container's
 * to be counted or killed by.
 */
function cgroupOf(pid: number): Cgroup | undefined {
  const [own, its] = [ownCgroupPaths(), ownCgroupPaths(pid)];
  for (const name of ['memory', 'pids', 'cpu', '']) {
    const path = its.get(name);
    if (path !== undefined && path !== '/' && path !== own.get(name)) return openCgroup(detectCgroups(), path);
  }
  return undefined;
}

function readPid(file: string): number {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (err) {
    throw wrap(err, 'the runtime wrote no pid');
  }
  const pid = Number(text);
  if (!Number.isSafeInteger(pid) || pid <= 0) throw unknown(`the runtime wrote no pid: ${JSON.stringify(text)}`);
  return pid;
}

/** With a terminal: makes the socket that the runtime sends the master to, and returns that. */
function withConsole(
  sys: Syscalls,
  bundle: string,
  terminal: boolean,
  call: (options: readonly string[]) => void,
): number | undefined {
  if (!terminal) {
    call([]);
    return undefined;
  }
  const socket = consoleSocket(bundle);
  rmSync(socket, { force: true });
  const listener = sys.listenUnix(socket, SOCK_STREAM);
  try {
    call(['--console-socket', socket]);
    const [ready = 0] = sys.poll([{ fd: listener, events: POLLIN }], consoleTimeoutMs);
    if (ready === 0) throw deadlineExceeded('the runtime sent no console');
    const connection = sys.accept(listener);
    try {
      const [master, ...others] = sys.receiveMessage(connection, 4096)?.fds ?? [];
      for (const fd of others) sys.close(fd);
      if (master === undefined) throw unknown('the runtime sent no console');
      return master;
    } finally {
      sys.close(connection);
    }
  } finally {
    sys.close(listener);
    rmSync(socket, { force: true });
  }
}

/** A socket's path is short; the bundle, where it is too deep for that, is the working directory of shim and runtime. */
function consoleSocket(bundle: string): string {
  const path = join(bundle, '.console');
  return Buffer.byteLength(path) <= 107 ? path : '.console';
}
