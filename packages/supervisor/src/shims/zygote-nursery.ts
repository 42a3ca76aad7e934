/**
 * Forks spare shims from a zygote: one warm Node process that has loaded and exercised what a shim does. The protocol is
 * drawn in shim/src/zygote/protocol.ts.
 *
 * The zygote is started when it is first needed, and again when it has died. One that cannot fork says so and is not started again:
 * `onUnfit` is called, and every request is refused from then on.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { deadlineExceeded, resourceExhausted, unavailable } from '@gantry/errors';
import type { Timeouts } from '../timeouts.ts';
import type { Nursery } from './nursery.ts';
import { identify, isAlive, killProcess } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { forkingFlags, shimEnvironment, zygoteEntry } from './shim-program.ts';
import { parseZygoteMessage } from './zygote-message.ts';
import type { ZygoteMessage } from './zygote-message.ts';

export interface ZygoteNurseryOptions {
  readonly node: string;
  /** A directory of ours that is the zygote's while it starts. */
  readonly scratch: string;
  /** Where the zygote, and its spares until they are adopted, write their standard error. */
  readonly logFd: number;
  readonly timeouts: Timeouts;
  /** Called once, with the reason, when shims cannot be forked here. */
  readonly onUnfit: (reason: string) => void;
  readonly log: { warn(fields: object, text: string): void };
}

/**
 * V8 settings of a process whose pages are shared by many and whose children live by the millisecond: compiled code stays;
 * nothing is compiled a second time to be faster, nor collected to be smaller, because both write to shared pages; the
 * young heap is small.
 */
const zygoteFlags = [
  ...forkingFlags,
  '--no-flush-bytecode',
  '--no-opt',
  '--no-memory-reducer',
  '--max-semi-space-size=1',
];

/** Arguments are what ps(1) can show of a shim: as long as its namespace, id and bundle may be. */
const padding = ' '.repeat(400);

/** How many zygotes may die young, one after the other, before it is given up. */
const maxYoungDeaths = 3;
const youngMs = 10_000;
/** How often a birth is looked after that has not come to its end. */
const lookMs = 200;

interface Birth {
  readonly resolve: (shim: ProcessIdentity) => void;
  readonly reject: (err: Error) => void;
  readonly timer: NodeJS.Timeout;
  process: ProcessIdentity | undefined;
  listens: boolean;
}

export class ZygoteNursery implements Nursery {
  readonly #options: ZygoteNurseryOptions;
  readonly #births = new Map<number, Birth>();
  #zygote: ChildProcess | undefined;
  #ready: Promise<Duplex> | undefined;
  #unfit: string | undefined;
  #youngDeaths = 0;
  #nextBirth = 1;
  #closed = false;

  constructor(options: ZygoteNurseryOptions) {
    this.#options = options;
  }

  async bear(socketPath: string): Promise<ProcessIdentity> {
    if (this.#closed) throw unavailable('no shim is forked any more');
    this.#ready ??= this.#start();
    const control = await this.#ready;
    const { shimStartMs } = this.#options.timeouts;
    return new Promise((resolve, reject) => {
      const fork = this.#nextBirth++;
      const deadline = Date.now() + shimStartMs;
      const timer = setInterval(() => this.#lookAfter(fork, deadline), lookMs);
      this.#births.set(fork, { resolve, reject, timer, process: undefined, listens: false });
      control.write(`${JSON.stringify({ fork, socket: socketPath })}\n`);
    });
  }

  /** A spare that was killed before it listened tells nobody; a zygote that does not fork in time never will. */
  #lookAfter(fork: number, deadline: number): void {
    const birth = this.#births.get(fork);
    if (birth === undefined) return;
    const { process } = birth;
    if (process !== undefined && !isAlive(process)) this.#fail(fork, unavailable('a forked shim ended at once'));
    else if (Date.now() >= deadline) {
      const { shimStartMs } = this.#options.timeouts;
      this.#fail(fork, deadlineExceeded(`a forked shim did not listen within ${shimStartMs} ms`));
      if (process === undefined) this.#zygote?.kill('SIGKILL');
    }
  }

  /** Ends a birth, and the process if there is one. */
  #fail(fork: number, err: Error): void {
    const birth = this.#births.get(fork);
    this.#births.delete(fork);
    if (birth === undefined) return;
    clearInterval(birth.timer);
    if (birth.process !== undefined) killProcess(birth.process);
    birth.reject(err);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const zygote = this.#zygote;
    if (zygote === undefined) return;
    const ended = new Promise((resolve) => zygote.once('exit', resolve));
    zygote.kill('SIGKILL'); // it has nothing to lose
    await ended;
  }

  /** Resolves to the control socket when the zygote is ready to fork. */
  #start(): Promise<Duplex> {
    if (this.#unfit !== undefined) return Promise.reject(unavailable(`shims cannot be forked: ${this.#unfit}`));
    const { node, scratch, logFd, timeouts } = this.#options;
    const started = Date.now();
    rmSync(scratch, { recursive: true, force: true });
    mkdirSync(scratch, { recursive: true, mode: 0o700 });
    const zygote = spawn(node, [...zygoteFlags, zygoteEntry(), scratch, padding], {
      cwd: '/',
      env: shimEnvironment(),
      detached: true,
      stdio: ['ignore', 'ignore', logFd, 'pipe'],
    });
    this.#zygote = zygote;
    const control = zygote.stdio[3] as Duplex;
    control.on('error', () => undefined); // its end is the process's, which is watched
    return new Promise((resolve, reject) => {
      let isReady = false;
      const timer = setTimeout(() => zygote.kill('SIGKILL'), timeouts.shimStartMs);
      eachLine(control, (line) => {
        const message = parseZygoteMessage(line);
        if (message === undefined) return;
        if ('ready' in message) {
          isReady = true;
          clearTimeout(timer);
          resolve(control);
        } else if ('unfit' in message) this.#giveUp(message.unfit);
        else this.#hear(message);
      });
      const end = (how: string): void => {
        clearTimeout(timer);
        this.#zygote = undefined;
        this.#ready = undefined;
        control.destroy(); // what it has forked and nobody waits for any more cannot say that it listens, and ends
        if (!this.#closed) this.#mourn(how, isReady && Date.now() - started > youngMs);
        const err = unavailable(`the zygote ended (${this.#unfit ?? how})`);
        for (const fork of this.#births.keys()) this.#fail(fork, err);
        reject(err);
      };
      zygote.once('error', (err) => end(err.message));
      zygote.once('exit', (code, signal) => end(signal ?? `exit code ${code ?? '?'}`));
    });
  }

  #mourn(how: string, wasOld: boolean): void {
    this.#youngDeaths = wasOld ? 0 : this.#youngDeaths + 1;
    if (this.#unfit !== undefined) return;
    if (this.#youngDeaths >= maxYoungDeaths) this.#giveUp(`the zygote died ${maxYoungDeaths} times (${how})`);
    else this.#options.log.warn({ how }, 'the zygote ended; another is started when a shim is needed');
  }

  #giveUp(reason: string): void {
    if (this.#unfit !== undefined) return;
    this.#unfit = reason;
    this.#options.onUnfit(reason);
  }

  #hear(message: Exclude<ZygoteMessage, { ready: true } | { unfit: string }>): void {
    if ('failed' in message) {
      this.#fail(message.failed, resourceExhausted(`no process can be had for a shim: ${message.error}`));
      return;
    }
    if ('lost' in message) {
      this.#fail(message.lost, unavailable(`a forked shim does not come up: ${message.error}`));
      return;
    }
    const fork = 'forked' in message ? message.forked : message.listening;
    const birth = this.#births.get(fork);
    if (birth === undefined) return;
    if ('forked' in message) {
      birth.process = identify(message.pid);
      if (birth.process === undefined) this.#fail(fork, unavailable('a forked shim ended at once'));
    } else birth.listens = true;
    if (birth.process === undefined || !birth.listens) return;
    this.#births.delete(fork);
    clearInterval(birth.timer);
    birth.resolve(birth.process);
  }
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
