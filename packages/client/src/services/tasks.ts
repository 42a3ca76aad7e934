/** The calls of the task service as they are on the wire; `tasks/process.ts` puts a life cycle on top. */
import { tasks, typeUrls } from '@gantry/api';
import type { PartialMessage, types, v1Types } from '@gantry/api';
import { internal } from '@gantry/errors';
import type { LinuxResources, Process } from '@gantry/oci';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = tasks.TasksService;

/** The state of a task or exec. */
export type TaskInfo = v1Types.Process;

/** Starting a container may pull in hooks and slow disks; it gets more time than other calls. */
const startTimeoutMs = 120_000;

export interface ExecRequest {
  readonly execId: string;
  readonly process: Process;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

export class TasksClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Sets the task up without running the user's process. Throws already exists, not found (container). */
  async create(request: PartialMessage<tasks.CreateTaskRequest>, options: CallOptions = {}): Promise<number> {
    const reply = await this.transport.unary(service, service.methods.create, request, slow(options));
    return reply.pid;
  }

  /** Runs the init process, or an exec that was added. Returns the pid. */
  async start(containerId: string, execId = '', options: CallOptions = {}): Promise<number> {
    const reply = await this.transport.unary(service, service.methods.start, { containerId, execId }, slow(options));
    return reply.pid;
  }

  /** Throws not found. */
  async get(containerId: string, execId = '', options: CallOptions = {}): Promise<v1Types.Process> {
    const reply = await this.transport.unary(service, service.methods.get, { containerId, execId }, options);
    if (reply.process === undefined) throw internal(`task "${containerId}": empty reply`);
    return reply.process;
  }

  async list(options: CallOptions = {}): Promise<v1Types.Process[]> {
    return (await this.transport.unary(service, service.methods.list, {}, options)).tasks;
  }

  /** Adds a process to a running task without starting it. Throws already exists. */
  async exec(containerId: string, request: ExecRequest, options: CallOptions = {}): Promise<void> {
    const { execId, process, stdin, stdout, stderr } = request;
    const spec = { typeUrl: typeUrls.process, value: Buffer.from(JSON.stringify(process)) };
    const message = { containerId, execId, stdin, stdout, stderr, terminal: process.terminal ?? false, spec };
    await this.transport.unary(service, service.methods.exec, message, slow(options));
  }

  /** Throws not found when the process has ended already. `all` signals every process of the container. */
  async kill(
    containerId: string,
    signal: number,
    options: CallOptions & { readonly execId?: string; readonly all?: boolean } = {},
  ): Promise<void> {
    const request = { containerId, execId: options.execId ?? '', signal, all: options.all ?? false };
    await this.transport.unary(service, service.methods.kill, request, options);
  }

  async resize(
    containerId: string,
    size: { readonly columns: number; readonly rows: number },
    execId = '',
    options: CallOptions = {},
  ): Promise<void> {
    const request = { containerId, execId, width: size.columns, height: size.rows };
    await this.transport.unary(service, service.methods.resizePty, request, options);
  }

  /** Lets end-of-file reach the process's stdin once the last writer of the fifo is gone. */
  async closeStdin(containerId: string, execId = '', options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.closeIO, { containerId, execId, stdin: true }, options);
  }

  async pause(containerId: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.pause, { containerId }, options);
  }

  async resume(containerId: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.resume, { containerId }, options);
  }

  async pids(containerId: string, options: CallOptions = {}): Promise<v1Types.ProcessInfo[]> {
    return (await this.transport.unary(service, service.methods.listPids, { containerId }, options)).processes;
  }

  /** Changes limits of a running container. */
  async update(containerId: string, resources: LinuxResources, options: CallOptions = {}): Promise<void> {
    const any = { typeUrl: typeUrls.linuxResources, value: Buffer.from(JSON.stringify(resources)) };
    await this.transport.unary(service, service.methods.update, { containerId, resources: any }, options);
  }

  /** Usage of the tasks that match any of the filters (`id==web`); tasks that cannot be read are left out. */
  async metrics(filters: readonly string[] = [], options: CallOptions = {}): Promise<types.Metric[]> {
    const request = { filters: [...filters] };
    return (await this.transport.unary(service, service.methods.metrics, request, options)).metrics;
  }

  /** Resolves when the process has ended; at once when it has already. No deadline unless one is given. */
  wait(containerId: string, execId = '', options: CallOptions = {}): Promise<tasks.WaitResponse> {
    const request = { containerId, execId };
    return this.transport.unary(service, service.methods.wait, request, { timeoutMs: 0, ...options });
  }

  /** Removes a stopped or never started task and its shim. */
  delete(containerId: string, options: CallOptions = {}): Promise<tasks.DeleteResponse> {
    return this.transport.unary(service, service.methods.delete, { containerId }, slow(options));
  }

  /** Removes an ended exec. */
  deleteExec(containerId: string, execId: string, options: CallOptions = {}): Promise<tasks.DeleteResponse> {
    return this.transport.unary(service, service.methods.deleteProcess, { containerId, execId }, slow(options));
  }
}

function slow(options: CallOptions): CallOptions {
  return { timeoutMs: startTimeoutMs, ...options };
}
