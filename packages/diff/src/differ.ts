/**
 * The differ: turns layers into trees and trees into layers, in worker processes, so that neither a large layer nor a
 * hostile one ever holds up or takes down the supervisor. Workers are spawned when needed and leave when idle.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { cancelled, failpointEnvironment, internal, unavailable } from '@gantry/errors';
import type {
  ApplyRequest,
  CompareRequest,
  CompareResult,
  CopyRequest,
  DiffResult,
  StreamProcessor,
} from './differ-types.ts';
import { fromWireError } from './protocol.ts';
import type { FromWorker, Job, ToWorker } from './protocol.ts';
import { workerProgram } from './worker-program.ts';

export interface DifferOptions {
  /** Jobs at a time; by default one per processor, at most 4. */
  readonly maximumWorkers?: number;
  /** How long an idle worker stays; 5 s by default. */
  readonly idleMs?: number;
  /** For layers of other media types, the first that accepts one has it. */
  readonly processors?: readonly StreamProcessor[];
}

export interface JobOptions {
  /** Ends the job by killing its worker; what it was writing is half-made. */
  readonly signal?: AbortSignal;
}

/** Takes the blob's bytes in order; the next piece comes when the promise resolves. */
export type ChunkSink = (chunk: Uint8Array) => Promise<void>;

const defaultIdleMs = 5000;
const complaintBytes = 2000;

/** A copy gives nothing. */
type FromJob = DiffResult | CompareResult | undefined;

interface Assignment {
  readonly work: Job;
  readonly sink: ChunkSink;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (result: FromJob) => void;
  readonly reject: (err: unknown) => void;
}

interface Worker {
  readonly child: ChildProcess;
  busy: { readonly job: number; readonly assignment: Assignment } | undefined;
  idleTimer: NodeJS.Timeout | undefined;
  /** It has been told to go and gets no more jobs. */
  leaving: boolean;
  /** The end of what it wrote to stderr. */
  complaint: string;
}

/** Owns its workers; `close` it. */
export class Differ {
  readonly #maximumWorkers: number;
  readonly #idleMs: number;
  readonly #processors: readonly StreamProcessor[];
  readonly #workers = new Set<Worker>();
  readonly #queue: Assignment[] = [];
  #jobs = 0;
  #closed = false;

  constructor(options: DifferOptions = {}) {
    this.#maximumWorkers = options.maximumWorkers ?? Math.min(4, availableParallelism());
    this.#idleMs = options.idleMs ?? defaultIdleMs;
    this.#processors = options.processors ?? [];
  }

  /**
   * Applies a layer's blob to the tree its mounts describe; the result is the uncompressed layer (digest = diff ID).
   * Data loss when the blob is not what its digest says; invalid argument for a malformed layer; not implemented for an
   * unknown media type; unknown when a stream processor fails; resource exhausted when the disk is full; unavailable when the
   * worker died. After a failure the tree is half-made: remove the snapshot.
   */
  async apply(request: ApplyRequest, options: JobOptions = {}): Promise<DiffResult> {
    const work = { kind: 'apply', request, processors: this.#processors } as const;
    return given(await this.#submit(work, async () => undefined, options));
  }

  /**
   * The layer that makes `left` into `right`; its bytes go to `sink`. Not implemented for media types other than tar,
   * tar+gzip and tar+zstd.
   */
  async compare(request: CompareRequest, sink: ChunkSink, options: JobOptions = {}): Promise<CompareResult> {
    const result = given(await this.#submit({ kind: 'compare', request }, sink, options));
    return { diffId: result.digest, ...result };
  }

  /** Makes a layer, with the container's ids, of what a container wrote: copy-layer.ts. After a failure it is half-made. */
  async copy(request: CopyRequest, options: JobOptions = {}): Promise<void> {
    await this.#submit({ kind: 'copy', request }, async () => undefined, options);
  }

  /**
   * Has a worker ready soon: starting one takes a hundred times what a small layer does. One that waits already waits on; it
   * leaves as any idle one does.
   */
  warm(): void {
    if (this.#closed) return;
    const workers = [...this.#workers].filter(({ leaving }) => !leaving);
    const idle = workers.find(({ busy }) => busy === undefined);
    if (idle !== undefined) this.#rest(idle);
    else if (workers.length === 0) this.#rest(this.#spawn());
  }

  /** Ends every worker; jobs under way and waiting fail with unavailable. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const assignment of this.#queue.splice(0)) assignment.reject(unavailable('differ is closed'));
    await Promise.all([...this.#workers].map(async (worker) => end(worker)));
  }

  async #submit(work: Job, sink: ChunkSink, { signal }: JobOptions): Promise<FromJob> {
    if (this.#closed) throw unavailable('differ is closed');
    if (signal?.aborted === true) throw cancelled(`${work.kind} of a layer`);
    return new Promise((resolve, reject) => {
      const assignment: Assignment = { work, sink, signal, resolve, reject };
      this.#queue.push(assignment);
      signal?.addEventListener('abort', () => this.#abort(assignment), { once: true });
      this.#assign();
    });
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      const idle = [...this.#workers].find(
        (worker) => worker.busy === undefined && !worker.leaving && worker.child.connected,
      );
      const worker =
        idle ??
        ([...this.#workers].filter(({ leaving }) => !leaving).length < this.#maximumWorkers
          ? this.#spawn()
          : undefined);
      const assignment = worker && this.#queue.shift();
      if (worker === undefined || assignment === undefined) return;
      this.#jobs += 1;
      worker.busy = { job: this.#jobs, assignment };
      clearTimeout(worker.idleTimer);
      hold(worker.child, true);
      tell(worker, { job: this.#jobs, work: assignment.work });
    }
  }

  #spawn(): Worker {
    const child = fork(workerProgram(), [], {
      execArgv: [],
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', ...failpointEnvironment },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const worker: Worker = { child, busy: undefined, idleTimer: undefined, leaving: false, complaint: '' };
    this.#workers.add(worker);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      worker.complaint = (worker.complaint + text).slice(-complaintBytes);
    });
    child.on('message', (message: FromWorker) => void this.#heard(worker, message));
    child.on('error', (err) => this.#gone(worker, err.message));
    // 'close' and not 'exit': the complaint is complete then.
    child.on('close', (status, signal) =>
      this.#gone(worker, signal === null ? `exit status ${status}` : `signal ${signal}`),
    );
    return worker;
  }

  async #heard(worker: Worker, message: FromWorker): Promise<void> {
    const { busy } = worker;
    if (busy?.job !== message.job) return;
    const { assignment } = busy;
    if ('chunk' in message) {
      try {
        await assignment.sink(message.chunk);
        tell(worker, { job: message.job, taken: true });
      } catch (err) {
        assignment.reject(err);
        worker.child.kill('SIGKILL');
      }
      return;
    }
    worker.busy = undefined;
    this.#rest(worker);
    if ('error' in message) assignment.reject(fromWireError(message.error));
    else assignment.resolve(message.result);
    this.#assign();
  }

  /** An idle worker neither keeps this process running nor stays for ever. */
  #rest(worker: Worker): void {
    hold(worker.child, false);
    clearTimeout(worker.idleTimer);
    worker.idleTimer = setTimeout(() => {
      worker.leaving = true;
      void end(worker);
    }, this.#idleMs);
    worker.idleTimer.unref();
  }

  #gone(worker: Worker, how: string): void {
    if (!this.#workers.delete(worker)) return;
    clearTimeout(worker.idleTimer);
    const complaint = worker.complaint.trim();
    worker.busy?.assignment.reject(
      unavailable(
        `differ's worker ended by ${how}${complaint === '' ? '' : `: ${complaint.split('\n').slice(-3).join(' ')}`}`,
      ),
    );
    worker.busy = undefined;
    if (!this.#closed) this.#assign();
  }

  #abort(assignment: Assignment): void {
    const waiting = this.#queue.indexOf(assignment);
    if (waiting !== -1) this.#queue.splice(waiting, 1);
    assignment.reject(cancelled(`${assignment.work.kind} of a layer`));
    for (const worker of this.#workers) {
      if (worker.busy?.assignment === assignment) worker.child.kill('SIGKILL');
    }
  }
}

function given<T>(result: T | undefined): T {
  if (result === undefined) throw internal('a job of the differ gave nothing');
  return result;
}

function tell(worker: Worker, message: ToWorker): void {
  // A channel that is gone is reported by 'close'.
  if (worker.child.connected) worker.child.send(message, () => undefined);
}

/** Kills a worker that has nothing to lose, or must not go on; resolves when it is gone. */
async function end(worker: Worker): Promise<void> {
  const { child } = worker;
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
  });
  hold(child, true);
  child.kill('SIGKILL');
  await gone;
}

/** Whether a child and its pipes keep this process's event loop running. */
function hold(child: ChildProcess, held: boolean): void {
  const handles = [child, child.channel, child.stderr instanceof Socket ? child.stderr : undefined];
  for (const handle of handles) {
    if (held) handle?.ref();
    else handle?.unref();
  }
}
