/**
 * The program `gantry-runtime`, in two starts:
 *
 *   bin/gantry-runtime.cjs                           bin/sealed.cjs
 *   looks which command it is
 *   create, run, exec, checkpoint, restore: puts    ► the same process again, run from a binary that no
 *   the node binary into a sealed view, execve(2)    container can write to; carries the command out (program.ts)
 *   anything else: carries it out (program.ts)
 *
 * Only a process that enters a container can fall into its hands (CVE-2019-5736), and only such a process has to be
 * started twice. This file is the first start and loads little.
 */
import { dirname } from 'node:path';
import { realpathSync } from 'node:fs';
import { linux, openSealedExecutable } from '@gantry/libc';
import { parseFlags } from './arguments.ts';
import { globalFlags } from './global-options.ts';
import { keepOverExec } from './preserved.ts';

/** For a process that is copied by clone(2): V8 keeps to one thread. */
const forkingFlags = ['--single-threaded', '--v8-pool-size=0'];

/** What these make are copies of this process, most of which enter a container. */
const entering: ReadonlySet<string> = new Set(['create', 'run', 'exec', 'checkpoint', 'restore']);

/** True for a command that `runSealed` has to start. */
export function enters(argv: readonly string[]): boolean {
  try {
    const { given, rest } = parseFlags(argv, globalFlags, 'flags first');
    return entering.has(rest[0] ?? '') && !given.on('help') && !given.on('version');
  } catch {
    // Whatever is wrong is said by the command itself.
    return false;
  }
}

/**
 * Starts this process again with `script` as its program. The pid stays. What the caller's environment says to Node is
 * not for a process that becomes a container's.
 */
export function runSealed(argv: readonly string[], script: string): never {
  const node = realpathSync(process.execPath);
  let executable = node;
  try {
    executable = `/proc/self/fd/${openSealedExecutable(linux, node, dirname(script))}`;
  } catch (err) {
    // Without privileges there is no such view; there is no way to write to the binary either.
    if (process.geteuid?.() === 0) throw err;
  }
  keepOverExec(argv);
  const environment = Object.entries(process.env)
    .filter(([name]) => !name.startsWith('NODE_') && !name.startsWith('LD_'))
    .map(([name, value]) => `${name}=${value ?? ''}`);
  return linux.execve(executable, [node, ...forkingFlags, script, ...argv], environment);
}
