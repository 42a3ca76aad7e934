/**
 * `start`: what a containerd supervisor that is not gantryd runs to get a shim.
 *
 *   supervisor            start                                    daemon
 *   runs it, cwd=bundle   starts the daemon, detached       ───►   listens
 *                         reads its line                    ◄───   {"version":3,…}
 *                         writes bundle/address
 *   reads stdout   ◄───   prints the address, ends
 *
 * The address is printed bare: containerd 1.6 knows nothing else, later ones take it for task API version 2, which the
 * daemon serves as well. Nothing else is printed on success. The bundle's `log` is the daemon's stderr, be it a fifo
 * (opened in a way that never waits) or a file. The daemon's node binary is a sealed view of the machine's: a container
 * that gets hold of /proc/PID/exe of a process entering it cannot write to that (CVE-2019-5736).
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, realpathSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { deadlineExceeded, internal, invalidArgument, messageOf } from '@gantry/errors';
import { linux, openSealedExecutable } from '@gantry/libc';
import type { ShimArguments } from '../arguments.ts';
import { forkingFlags } from '../forking-flags.ts';
import { bootstrapTimeoutMs } from '../limits.ts';
import { lineLog } from '../log.ts';
import type { ShimLog } from '../log.ts';
import { socketPathFor } from './socket-path.ts';

/** Resolves with the exit code. A daemon that does not come up is killed. */
export async function start(given: ShimArguments): Promise<number> {
  if (given.namespace === '' || given.id === '') throw invalidArgument('flags -namespace and -id are needed');
  const bundle = given.bundle === '' ? process.cwd() : given.bundle;
  const socket = given.socket === '' ? socketPathFor(given) : given.socket;
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
  const child = launch(given, bundle, socket);
  try {
    const address = parseBootstrap(await firstLine(child));
    writeAddress(bundle, address);
    writeSync(1, address);
    return 0;
  } catch (err) {
    child.kill('SIGKILL');
    throw err;
  } finally {
    child.stdout?.destroy();
    child.unref();
  }
}

function launch(given: ShimArguments, bundle: string, socket: string): ChildProcess {
  const program = process.argv[1] ?? '';
  const flags = ['-namespace', given.namespace, '-id', given.id, '-address', given.address];
  const { O_RDWR, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
  const log = openSync(join(bundle, 'log'), O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK, 0o600);
  const sealed = sealedNode(bundle, lineLog({ debug: given.debug, fd: log }));
  try {
    return spawn(
      sealed === undefined ? process.execPath : `/proc/self/fd/${sealed}`,
      [...forkingFlags, program, ...flags, '-bundle', bundle, '-socket', socket, ...(given.debug ? ['-debug'] : [])],
      { cwd: bundle, detached: true, stdio: ['ignore', 'pipe', log] },
    );
  } finally {
    closeSync(log);
    if (sealed !== undefined) closeSync(sealed);
  }
}

/** The node binary in a view that no container can write through; undefined, and said in the log, where there is none. */
function sealedNode(bundle: string, log: ShimLog): number | undefined {
  try {
    return openSealedExecutable(linux, realpathSync(process.execPath), bundle);
  } catch (err) {
    log.warn('the shim runs from the node binary itself', { error: messageOf(err) });
    return undefined;
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  return await new Promise<string>((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(deadlineExceeded('the shim does not come up')), bootstrapTimeoutMs);
    const finish = (err: Error | undefined): void => {
      clearTimeout(timer);
      if (err === undefined) resolve(text);
      else reject(err);
    };
    child.once('error', finish);
    child.once('exit', (code, signal) =>
      finish(internal(`the shim ended with ${code ?? signal ?? 'nothing'}; see its log`)),
    );
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) finish(undefined);
    });
  });
}

/** The address in the daemon's line. */
export function parseBootstrap(line: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (err) {
    throw internal(`the shim's first line is not JSON: ${messageOf(err)}`);
  }
  if (typeof value !== 'object' || value === null || !('address' in value) || typeof value.address !== 'string') {
    throw internal("the shim's first line has no address");
  }
  return value.address;
}

/** `address` in the bundle is where containerd 1.6 looks for a running shim after its own restart. */
function writeAddress(bundle: string, address: string): void {
  const temporary = join(bundle, '.address');
  writeFileSync(temporary, address, { mode: 0o600 });
  renameSync(temporary, join(bundle, 'address'));
}
