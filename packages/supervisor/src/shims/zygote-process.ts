/** One zygote, from its start to its end. The protocol is drawn in shim/src/zygote/protocol.ts. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { resourceExhausted, unavailable } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { noProcess } from './no-process.ts';
import { forkingFlags, shimEnvironment, zygoteEntry } from './shim-program.ts';
import { parseZygoteMessage } from './zygote-message.ts';
import type { BirthMessage } from './zygote-message.ts';

export interface ZygoteProcessOptions {
  readonly node: string;
  /** A directory of ours that is the zygote's while it starts. */
  readonly scratch: string;
  /** Where the zygote, and its spares until they are adopted, write their standard error. */
  readonly logFd: number;
  /** How long it may take to be ready. */
  readonly startMs: number;
  readonly onMessage: (message: BirthMessage) => void;
  /** Called once, whatever way it ends. */
  readonly onEnd: (end: ZygoteEnd) => void;
}

export interface ZygoteEnd {
  /** What whoever waits for it is told: resource exhausted when there was no room for it, unavailable otherwise. */
  readonly error: GantryError;
  /** Its own words, when it found that it cannot fork. */
  readonly unfit: string | undefined;
  /** How long it was ready, in milliseconds. */
  readonly servedMs: number;
}

/** What V8 calls the setting that decides when a function begins to keep what it learns of the shapes it meets. */
const neverLearn =
  Number.parseInt(process.versions.v8, 10) < 12
    ? [
        '--interrupt-budget-for-feedback-allocation=1000000000',
        '--interrupt-budget-factor-for-feedback-allocation=10000',
      ]
    : ['--invocation-count-for-feedback-allocation=10000'];

/**
 * V8 settings of a process whose pages are shared by many and whose children live by the millisecond: compiled code stays;
 * nothing is compiled a second time to be faster, nor collected to be smaller, because both write to shared pages; the
 * young heap is small. Functions keep no notes of shapes and calls: a note is a write at each call, and no function of a
 * shim runs often enough to gain from them. V8's builtins are called where the program file has them, which all processes
 * share, not copied beside the heap.
 */
const zygoteFlags = [
  ...forkingFlags,
  '--no-flush-bytecode',
  '--no-opt',
  '--no-sparkplug',
  ...neverLearn,
  '--no-short-builtin-calls',
  '--no-memory-reducer',
  '--max-semi-space-size=1',
];

/** Arguments are what ps(1) can show of a shim: as long as its namespace, id and bundle may be. */
const padding = ' '.repeat(400);

export class ZygoteProcess {
  /** Resolves when it is ready to fork; rejects with `ZygoteEnd.error` when it has ended before. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone. */
  readonly ended: Promise<void>;
  readonly #options: ZygoteProcessOptions;
  #child: ChildProcess | undefined;
  #control: Duplex | undefined;
  #readyAt: number | undefined;
  #unfit: string | undefined;
  #noRoom: GantryError | undefined;

  constructor(options: ZygoteProcessOptions) {
    this.#options = options;
    let settleReady: { resolve: () => void; reject: (err: Error) => void } | undefined;
    this.ready = new Promise((resolve, reject) => {
      settleReady = { resolve, reject };
    });
    this.ready.catch(() => undefined); // told by onEnd as well
    const timer = setTimeout(() => this.kill(), options.startMs);
    this.ended = this.#spawn(() => {
      clearTimeout(timer);
      this.#readyAt = Date.now();
      settleReady?.resolve();
    }).then((error) => {
      clearTimeout(timer);
      this.#control?.destroy(); // what it has forked and nobody waits for any more cannot say that it listens, and ends
      settleReady?.reject(error);
      const servedMs = this.#readyAt === undefined ? 0 : Date.now() - this.#readyAt;
      options.onEnd({ error, unfit: this.#unfit, servedMs });
    });
  }

  /** Asks for a spare; what comes of it is told by messages that bear this number. */
  request(fork: number, socketPath: string): void {
    this.#control?.write(`${JSON.stringify({ fork, socket: socketPath })}\n`);
  }

  /** SIGKILL: it has nothing to lose. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  /** Resolves to why it is not there any more. */
  async #spawn(onReady: () => void): Promise<GantryError> {
    const { node, scratch, logFd } = this.#options;
    try {
      rmSync(scratch, { recursive: true, force: true });
      mkdirSync(scratch, { recursive: true, mode: 0o700 });
      const child = spawn(node, [...zygoteFlags, zygoteEntry(), scratch, padding], {
        cwd: '/',
        env: shimEnvironment(),
        detached: true,
        stdio: ['ignore', 'ignore', logFd, 'pipe'],
      });
      this.#child = child;
      const ended = endOf(child, () => this.#readyAt !== undefined);
      // Without room for its pipes there is no `stdio` at all, and an error event follows.
      const stdio = child.stdio as ChildProcess['stdio'] | undefined;
      this.#control = (stdio?.[3] ?? undefined) as Duplex | undefined;
      this.#control?.on('error', () => undefined); // its end is the process's, which is watched
      if (this.#control !== undefined) eachLine(this.#control, (line) => this.#hear(line, onReady));
      const how = await ended;
      return this.#noRoom ?? unavailable(`the zygote ended (${this.#unfit ?? how})`);
    } catch (err) {
      return noProcess(err instanceof Error ? err : new Error(String(err)));
    }
  }

  #hear(line: string, onReady: () => void): void {
    const message = parseZygoteMessage(line);
    if (message === undefined) return;
    if ('ready' in message) onReady();
    else if ('unfit' in message) this.#unfit = message.unfit;
    else if ('noRoom' in message)
      this.#noRoom = resourceExhausted(`no process can be had for shims: ${message.noRoom}`);
    else this.#options.onMessage(message);
  }
}

/**
 * Resolves to how a child ended; rejects when there never was one. Before it is ready, what it said last is waited for;
 * later its spares may hold the other end of the line for a while.
 */
function endOf(child: ChildProcess, isReady: () => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      const how = signal ?? `exit code ${code ?? '?'}`;
      if (isReady()) resolve(how);
      else child.once('close', () => resolve(how));
    });
  });
}

function eachLine(stream: Duplex, take: (line: string) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    rest += chunk.toString('utf8');
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      take(rest.slice(0, end));
      rest = rest.slice(end + 1);
    }
  });
}
