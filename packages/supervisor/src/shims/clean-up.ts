/** Runs the shim binary's `delete` action: the clean-up after a shim that is dead, in a process of its own. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { nowNs, taskV3, timestampToNs } from '@gantry/api';
import { deadlineExceeded, unavailable } from '@gantry/errors';
import type { Remains, ShimRequest } from './launcher.ts';
import { forkingFlags, shimEntry, shimEnvironment } from './shim-program.ts';

/** Resolves to how the container ended. Throws when something does not end within the time. */
export async function runCleanUp(
  node: string,
  { namespace, id, bundle }: ShimRequest,
  timeoutMs: number,
): Promise<Remains> {
  const log = await open(path.join(bundle, 'log'), 'a', 0o600);
  try {
    const args = [...forkingFlags, shimEntry(), '-namespace', namespace, '-id', id, '-bundle', bundle, 'delete'];
    const env = shimEnvironment();
    const child = spawn(node, args, { cwd: bundle, env, detached: true, stdio: ['ignore', 'pipe', log.fd] });
    child.unref();
    const output = await collect(child, timeoutMs);
    const { pid, exitStatus, exitedAt } = taskV3.DeleteResponse.decode(output);
    return { pid, exitStatus, exitedAtNs: exitedAt === undefined ? nowNs() : timestampToNs(exitedAt) };
  } finally {
    await log.close();
  }
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
