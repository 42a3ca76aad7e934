/**
 * Forks spare shims from a zygote: one warm Node process that has loaded and exercised what a shim does.
 *
 * The zygote is started when it is first needed, and again when it has died. One that cannot fork says so and is not
 * started again: `onUnfit` is called, and every request is refused from then on.
 */
import { deadlineExceeded, isCode, resourceExhausted, unavailable } from '@gantry/errors';
import type { Timeouts } from '../timeouts.ts';
import type { Nursery } from './nursery.ts';
import { identify, isAlive, killProcess } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { BirthMessage } from './zygote-message.ts';
import { ZygoteProcess } from './zygote-process.ts';
import type { ZygoteEnd } from './zygote-process.ts';

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
  #zygote: ZygoteProcess | undefined;
  #unfit: string | undefined;
  #youngDeaths = 0;
  #nextBirth = 1;
  #closed = false;

  constructor(options: ZygoteNurseryOptions) {
    this.#options = options;
  }

  async bear(socketPath: string): Promise<ProcessIdentity> {
    if (this.#closed) throw unavailable('no shim is forked any more');
    if (this.#unfit !== undefined) throw unavailable(`shims cannot be forked: ${this.#unfit}`);
    const zygote = (this.#zygote ??= this.#start());
    await zygote.ready;
    const { shimStartMs } = this.#options.timeouts;
    return new Promise((resolve, reject) => {
      const fork = this.#nextBirth++;
      const deadline = Date.now() + shimStartMs;
      const timer = setInterval(() => this.#lookAfter(fork, deadline), lookMs);
      this.#births.set(fork, { resolve, reject, timer, process: undefined, listens: false });
      zygote.request(fork, socketPath);
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
      if (process === undefined) this.#zygote?.kill();
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
    this.#zygote?.kill();
    await this.#zygote?.ended;
  }

  #start(): ZygoteProcess {
    const { node, scratch, logFd, timeouts } = this.#options;
    return new ZygoteProcess({
      node,
      scratch,
      logFd,
      startMs: timeouts.shimStartMs,
      onMessage: (message) => this.#hear(message),
      onEnd: (end) => {
        this.#zygote = undefined;
        if (!this.#closed) this.#mourn(end);
        for (const fork of this.#births.keys()) this.#fail(fork, end.error);
      },
    });
  }

  /** A lack of room passes, and says nothing about forking. */
  #mourn({ error, servedMs, unfit }: ZygoteEnd): void {
    if (unfit !== undefined) {
      this.#giveUp(unfit);
      return;
    }
    if (!isCode(error, 'resource exhausted')) this.#youngDeaths = servedMs > youngMs ? 0 : this.#youngDeaths + 1;
    if (this.#youngDeaths >= maxYoungDeaths)
      this.#giveUp(`it failed ${maxYoungDeaths} times, at last: ${error.message}`);
    else this.#options.log.warn({ err: error.message }, 'the zygote is gone; another is started when a shim is needed');
  }

  #giveUp(reason: string): void {
    this.#unfit = reason;
    this.#options.onUnfit(reason);
  }

  #hear(message: BirthMessage): void {
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
