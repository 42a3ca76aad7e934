/** A gantryd of the test's own: its own root, state directory and socket; can be killed and started again. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { openSync, closeSync, readFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { run, until } from './command.ts';
import type { CommandOptions, CommandResult } from './command.ts';
import { checkout } from './scratch.ts';

/** Something that listens on a containerd socket. */
export interface Daemon {
  readonly name: string;
  readonly address: string;
  readonly pid: number;
  start(env?: Readonly<Record<string, string>>): Promise<void>;
  /** SIGTERM and wait. */
  stop(): Promise<void>;
  /** SIGKILL and wait. */
  kill(): Promise<void>;
  log(): string;
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Which socket is at the path, of those that were bound there one after the other; '' when there is none. */
function identityOf(address: string): string {
  const stat = statSync(address, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino} ${stat.ctimeNs}`;
}

export interface LaunchOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** A terminal's ^C does not reach it. */
  readonly detached?: boolean;
  /** Like a service, it gets nothing of our environment but PATH: variables such as NODE_EXTRA_CA_CERTS cost it time. */
  readonly bare?: boolean;
}

/** A daemon process started by a command line, ready when its socket accepts. */
export class DaemonProcess implements Daemon {
  readonly name: string;
  readonly address: string;
  readonly #command: readonly string[];
  readonly #logFile: string;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #hasEnded = false;
  /** The socket that an earlier process has left. */
  #before = '';

  constructor(name: string, address: string, command: readonly string[], logFile: string) {
    this.name = name;
    this.address = address;
    this.#command = command;
    this.#logFile = logFile;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.launch({ env });
    await until(`${this.name} to answer on its socket`, async () => {
      if (this.hasEnded) throw new Error(`${this.name} ended at its start:\n${this.log()}`);
      // A child of one that was killed may hold its socket for a moment, and accept what nobody will answer.
      return identityOf(this.address) !== this.#before && answers(this.address);
    });
  }

  /** Starts the process and does not wait for it. */
  launch(options: LaunchOptions = {}): void {
    this.#before = identityOf(this.address);
    const [file = '', ...args] = this.#command;
    const log = openSync(this.#logFile, 'a');
    const child = spawn(file, args, {
      stdio: ['ignore', log, log],
      env: { ...(options.bare === true ? { PATH: process.env['PATH'] } : process.env), ...options.env },
      detached: options.detached ?? false,
    });
    closeSync(log);
    this.#child = child;
    this.#hasEnded = false;
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.#hasEnded = true;
        resolve();
      });
    });
  }

  /** Whether the process that was started last has ended. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM');
    await Promise.race([
      this.#exited,
      new Promise((_resolve, reject) => {
        setTimeout(() => reject(new Error(`${this.name} did not end within 15 s of SIGTERM`)), 15_000).unref();
      }),
    ]);
    this.#child = undefined;
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
    this.#child = undefined;
  }

  /** Resolves when the process has ended by itself (a failpoint that kills it, say). */
  async ended(): Promise<void> {
    await this.#exited;
    this.#child = undefined;
  }

  log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }
}

/**
 * A gantryd below `dir`, of this checkout unless `bin` is another's, run by the words of `runner`; not started yet. `state` is
 * its state directory.
 */
export function gantryd(
  dir: string,
  extraArgs: readonly string[] = [],
  bin = path.join(checkout, 'packages/supervisor/bin/gantryd.js'),
  runner: readonly string[] = [process.execPath],
  state = path.join(dir, 'state'),
): DaemonProcess & { root: string; state: string } {
  const root = path.join(dir, 'root');
  const address = path.join(dir, 'g.sock');
  mkdirSync(dir, { recursive: true });
  const config = extraArgs.includes('--config') ? [] : ['--config', ordinaryConfig(dir)];
  const command = [...runner, bin, '--root', root, '--state', state, '--address', address, ...config, ...extraArgs];
  return Object.assign(new DaemonProcess('gantryd', address, command, path.join(dir, 'gantryd.log')), { root, state });
}

/** Garbage goes after deletions, as with the peer, and not whenever so many calls have been made. */
function ordinaryConfig(dir: string): string {
  const file = path.join(dir, 'gantryd.toml');
  writeFileSync(file, '[gc]\nmutation_threshold = 0\n');
  return file;
}

/** Debian's ctr on a socket and in a namespace. */
export function ctr(
  daemon: Pick<Daemon, 'address'>,
  namespace: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return run('ctr', ['-a', daemon.address, '-n', namespace, ...args], options);
}

/** Our own command line on a socket and in a namespace. */
export function gantry(
  daemon: Pick<Daemon, 'address'>,
  namespace: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const bin = path.join(checkout, 'packages/cli/bin/gantry.js');
  return run(process.execPath, [bin, '-a', daemon.address, '-n', namespace, ...args], options);
}
