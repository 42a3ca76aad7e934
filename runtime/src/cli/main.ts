/**
 * The program `gantry-runtime`.
 *
 *   main.ts                                          sealed.ts
 *   looks which command it is
 *   create, run, exec: puts the node binary into   ► the same process again, run from a binary that no
 *   a sealed view, execve(2)                         container can write to; carries the command out
 *   anything else: carries it out
 *
 * Only a process that enters a container can fall into its hands, and only such a process has to be started twice.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { realpathSync } from 'node:fs';
import { linux, openSealedExecutable } from '@gantry/libc';
import { parseFlags } from './arguments.ts';
import { globalFlags } from './global-options.ts';
import { keepOverExec } from './preserved.ts';
import { runCommand } from './run-command.ts';

/** For a process that is copied by clone(2): V8 keeps to one thread. */
const forkingFlags = ['--single-threaded', '--v8-pool-size=0'];

/** What these make are copies of this process that enter a container. */
const entering: ReadonlySet<string> = new Set(['create', 'run', 'exec', 'restore']);

function enters(argv: readonly string[]): boolean {
  try {
    return entering.has(parseFlags(argv, globalFlags, 'flags first').rest[0] ?? '');
  } catch {
    // Whatever is wrong is said by the command itself.
    return false;
  }
}

/** The pid stays. What the caller's environment says to Node is not for a process that becomes a container's. */
function runSealed(argv: readonly string[]): never {
  const here = dirname(fileURLToPath(import.meta.url));
  const node = realpathSync(process.execPath);
  let executable = node;
  try {
    executable = `/proc/self/fd/${openSealedExecutable(linux, node, here)}`;
  } catch (err) {
    // Without privileges there is no such view; there is no way to write to the binary either.
    if (process.geteuid?.() === 0) throw err;
  }
  keepOverExec(argv);
  const environment = Object.entries(process.env)
    .filter(([name]) => !name.startsWith('NODE_') && !name.startsWith('LD_'))
    .map(([name, value]) => `${name}=${value ?? ''}`);
  return linux.execve(executable, [node, ...forkingFlags, join(here, 'sealed.js'), ...argv], environment);
}

const argv = process.argv.slice(2);
if (enters(argv)) runSealed(argv);
process.exit(await runCommand(argv));
