/**
 * Spawns every spare shim as a Node process of its own: slower and heavier than forking one, and possible everywhere.
 *
 *   supervisor                                spare shim
 *   spawn, stdout = a pipe                ──►  listens on -socket
 *   reads one JSON line                  ◄──   {"version":3,"address":"unix:///…","protocol":"ttrpc","pid":N}
 *   forgets the child                          stdout becomes /dev/null
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { deadlineExceeded, unavailable } from '@gantry/errors';
import type { Timeouts } from '../timeouts.ts';
import { noProcess } from './no-process.ts';
import type { Nursery } from './nursery.ts';
import { identify } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { forkingFlags, shimEntry, shimEnvironment } from './shim-program.ts';

export interface SpawnNurseryOptions {
  /** The node program to run: a sealed view of it (CVE-2019-5736), see sealed-node.ts. */
  readonly node: string;
  /** Where spares write their standard error until they are adopted. */
  readonly logFd: number;
  readonly timeouts: Timeouts;
}

/** How much a shim may print before its line is complete. */
const maxBootstrapBytes = 64 * 1024;

export class SpawnNursery implements Nursery {
  readonly #options: SpawnNurseryOptions;
  #closed = false;

  constructor(options: SpawnNurseryOptions) {
    this.#options = options;
  }

  async bear(socketPath: string): Promise<ProcessIdentity> {
    if (this.#closed) throw unavailable('no shim is spawned any more');
    const { node, logFd, timeouts } = this.#options;
    const child = startShim(node, socketPath, logFd);
    child.unref();
    try {
      const line = await firstLine(child, timeouts.shimStartMs);
      child.stdout?.destroy();
      const identity = child.pid === undefined ? undefined : identify(child.pid);
      if (identity === undefined || !line.startsWith('{"version":3,')) {
        throw unavailable(`a shim said ${JSON.stringify(line.slice(0, 200))} instead of where it listens`);
      }
      return identity;
    } catch (err) {
      await killAndReap(child);
      throw err;
    }
  }

  /** Shims that come up meanwhile are the caller's. */
  async close(): Promise<void> {
    this.#closed = true;
  }
}

/** Throws what Node throws at once instead of telling it by an event (ENOMEM among others), as `noProcess`. */
function startShim(node: string, socketPath: string, logFd: number): ChildProcess {
  try {
    return spawn(node, [...forkingFlags, shimEntry(), '-socket', socketPath, 'spare'], {
      cwd: '/',
      env: shimEnvironment(),
      detached: true,
      stdio: ['ignore', 'pipe', logFd],
    });
  } catch (err) {
    throw noProcess(err instanceof Error ? err : new Error(String(err)));
  }
}

/** Kills a child and resolves when it is dead. */
async function killAndReap(child: ChildProcess): Promise<void> {
  child.stdout?.destroy();
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

function firstLine(child: ChildProcess, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(
      () => reject(deadlineExceeded(`a spawned shim did not listen within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      finish();
    };
    child.once('error', (err) => {
      settle(() => reject(noProcess(err)));
    });
    child.once('exit', (code, signal) =>
      settle(() => reject(unavailable(`a spawned shim ended at once (${signal ?? `exit code ${code ?? '?'}`})`))),
    );
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const end = text.indexOf('\n');
      if (end >= 0) settle(() => resolve(text.slice(0, end)));
      else if (text.length > maxBootstrapBytes) settle(() => reject(unavailable('a spawned shim prints without end')));
    });
  });
}
