/** Runs an action of somebody else's shim binary: `start`, `delete`, `-info`. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { deadlineExceeded, messageOf, unknown } from '@gantry/errors';
import { noProcess } from '../no-process.ts';

export interface ShimAction {
  readonly binary: string;
  readonly args: readonly string[];
  /** Working directory: the bundle, where there is one. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly input: Uint8Array;
  readonly timeoutMs: number;
}

export interface ActionOutput {
  readonly stdout: Buffer;
  /** Only for people. */
  readonly stderr: string;
}

/** More than any shim has to say. */
const maxOutputBytes = 1024 * 1024;

/** How long a shim that was started may keep the pipes of the process that started it. */
const afterExitMs = 100;

/** Throws what the binary printed when it fails, deadline exceeded when it does not end. */
export async function runAction(action: ShimAction): Promise<ActionOutput> {
  const { binary, args, cwd, env, input, timeoutMs } = action;
  const name = `${path.basename(binary)} ${args.at(-1) ?? ''}`;
  const child = spawn(binary, [...args], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined); // it need not read it
  child.stdin.end(input);
  const [stdout, stderr] = [collect(child.stdout, name), collect(child.stderr, name)];
  const code = await ended(child, name, timeoutMs);
  child.stdout.destroy();
  child.stderr.destroy();
  if (code !== 0) {
    const said = `${stderr().toString().trim()} ${stdout().toString().trim()}`.trim();
    throw unknown(`${name} failed with ${code}: ${said.slice(-4096)}`);
  }
  return { stdout: stdout(), stderr: stderr().toString() };
}

function collect(stream: NodeJS.ReadableStream, name: string): () => Buffer {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxOutputBytes) chunks.push(chunk);
  });
  return () => {
    if (bytes > maxOutputBytes) throw unknown(`${name} printed more than ${maxOutputBytes} bytes`);
    return Buffer.concat(chunks);
  };
}

/** Its exit code, or the name of the signal; waits for the end of its output, but not for ever. */
async function ended(child: ChildProcess, name: string, timeoutMs: number): Promise<number | string> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(deadlineExceeded(`${name}: not done within ${timeoutMs} ms`));
    }, timeoutMs);
    child.once('error', (err) => {
      clearTimeout(timer);
      reject(child.pid === undefined ? noProcess(err) : unknown(`${name}: ${messageOf(err)}`, {}, err));
    });
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      clearTimeout(timer);
      resolve(code ?? signal ?? 'no exit code');
    };
    child.once('exit', (code, signal) => setTimeout(() => finish(code, signal), afterExitMs).unref());
    child.once('close', finish);
  });
}
