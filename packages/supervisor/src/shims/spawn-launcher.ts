/**
 * Launches every shim as a Node process of its own, detached, in its own session.
 *
 *   supervisor                                shim
 *   spawn, cwd = bundle, stdout = a pipe  ──►  listens on -socket
 *   reads one JSON line                  ◄──   {"version":3,"address":"unix:///…","protocol":"ttrpc","pid":N}
 *   forgets the child                          stdout becomes /dev/null; stderr stays BUNDLE/log
 *
 * If the line does not come the child is killed. If the supervisor dies first, the shim is found by its command line.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { nowNs, taskV3, timestampToNs } from '@gantry/api';
import { deadlineExceeded, messageOf, unavailable, wrap } from '@gantry/errors';
import type { Timeouts } from '../timeouts.ts';
import type { LaunchedShim, Remains, ShimLauncher, ShimRequest } from './launcher.ts';
import { identify } from './process-identity.ts';

export interface SpawnLauncherOptions {
  /** The supervisor's gRPC socket; events go to it with `.ttrpc` appended. */
  readonly address: string;
  readonly timeouts: Timeouts;
  /** The node program to run: a sealed view of it (CVE-2019-5736), see sealed-node.ts. */
  readonly node: string;
}

/** How much a shim may print before its line is complete. */
const maxBootstrapBytes = 64 * 1024;

/** The shim's entry, found through its package: the supervisor knows the room only by name. */
function shimEntry(): string {
  const manifest = createRequire(import.meta.url).resolve('@gantry/shim/package.json');
  return path.join(path.dirname(manifest), 'bin/containerd-shim-gantry-v1.js');
}

export class SpawnLauncher implements ShimLauncher {
  readonly #address: string;
  readonly #timeouts: Timeouts;
  readonly #node: string;
  readonly #entry = shimEntry();

  constructor({ address, timeouts, node }: SpawnLauncherOptions) {
    this.#node = node;
    this.#address = address;
    this.#timeouts = timeouts;
  }

  async launch(request: ShimRequest): Promise<LaunchedShim> {
    const log = await open(path.join(request.bundle, 'log'), 'a', 0o600);
    try {
      const child = this.#spawn(request, [], log.fd);
      try {
        return await bootstrap(child, this.#timeouts.shimStartMs);
      } catch (err) {
        await killAndReap(child);
        throw wrap(err, `starting the shim of ${request.id}${await lastLine(request.bundle)}`);
      }
    } finally {
      await log.close();
    }
  }

  async cleanUp(request: ShimRequest): Promise<Remains> {
    const log = await open(path.join(request.bundle, 'log'), 'a', 0o600);
    try {
      const child = this.#spawn(request, ['delete'], log.fd);
      const output = await collect(child, this.#timeouts.shimCleanupMs);
      const { pid, exitStatus, exitedAt } = taskV3.DeleteResponse.decode(output);
      return { pid, exitStatus, exitedAtNs: exitedAt === undefined ? nowNs() : timestampToNs(exitedAt) };
    } finally {
      await log.close();
    }
  }

  async close(): Promise<void> {
    // Spawned shims are nobody's children to look after.
  }

  #spawn({ namespace, id, bundle, socketPath }: ShimRequest, action: readonly string[], logFd: number): ChildProcess {
    const flags = ['-namespace', namespace, '-id', id, '-address', this.#address, '-bundle', bundle];
    const args = ['--single-threaded', this.#entry, ...flags, '-socket', socketPath, ...action];
    // Nothing of the supervisor's environment reaches a shim but PATH: NODE_OPTIONS and the like least of all.
    const env = {
      PATH: process.env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      TTRPC_ADDRESS: `${this.#address}.ttrpc`,
      NAMESPACE: namespace,
    };
    const child = spawn(this.#node, args, { cwd: bundle, env, detached: true, stdio: ['ignore', 'pipe', logFd] });
    child.unref();
    return child;
  }
}

/** Kills a child and resolves when it is dead: whoever cleans up after it must not have it at work beside him. */
async function killAndReap(child: ChildProcess): Promise<void> {
  child.stdout?.destroy();
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** Reads the shim's one line and lets go of it. */
async function bootstrap(child: ChildProcess, timeoutMs: number): Promise<LaunchedShim> {
  const line = await firstLine(child, timeoutMs);
  child.stdout?.destroy();
  const parsed: unknown = parseLine(line);
  const address = field(parsed, 'address');
  const process = child.pid === undefined ? undefined : identify(child.pid);
  if (typeof address !== 'string' || process === undefined) {
    throw unavailable(`the shim said ${JSON.stringify(line.slice(0, 200))} instead of where it listens`);
  }
  return { process, address };
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function firstLine(child: ChildProcess, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(deadlineExceeded(`it did not listen within ${timeoutMs} ms`)), timeoutMs);
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      finish();
    };
    child.once('error', (err) => settle(() => reject(unavailable(err.message, {}, err))));
    child.once('exit', (code, signal) =>
      settle(() => reject(unavailable(`it ended at once (${signal ?? `exit code ${code ?? '?'}`})`))),
    );
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const end = text.indexOf('\n');
      if (end >= 0) settle(() => resolve(text.slice(0, end)));
      else if (text.length > maxBootstrapBytes) settle(() => reject(unavailable('it prints without end')));
    });
  });
}

/** Everything a short-lived child prints; rejects when it fails or takes too long. */
function collect(child: ChildProcess, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(deadlineExceeded(`cleaning up after a shim: not done within ${timeoutMs} ms`));
    }, timeoutMs);
    child.once('error', (err) => {
      clearTimeout(timer);
      reject(unavailable(`cleaning up after a shim: ${err.message}`, {}, err));
    });
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(Buffer.concat(chunks));
      else reject(unavailable(`cleaning up after a shim: it ended with ${signal ?? `exit code ${code ?? '?'}`}`));
    });
  });
}

/** What the shim wrote last, for the error text. */
async function lastLine(bundle: string): Promise<string> {
  try {
    const lines = (await readFile(path.join(bundle, 'log'), 'utf8')).trimEnd().split('\n');
    const last = lines.at(-1) ?? '';
    return last === '' ? '' : ` (its log ends with: ${last.slice(0, 500)})`;
  } catch (err) {
    return ` (its log cannot be read: ${messageOf(err)})`;
  }
}
