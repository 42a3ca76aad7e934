/**
 * The program `containerd-shim-gantry-v1`: parses the command line and runs one action. An action's modules are loaded
 * when it is chosen: the daemon carries nothing of the others in its memory.
 */
import { writeSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import { parseArguments } from './arguments.ts';
import { version } from './version.ts';

async function main(argv: readonly string[]): Promise<number> {
  const given = parseArguments(argv);
  switch (given.action) {
    case 'version':
      writeSync(1, `containerd-shim-gantry-v1:\n  Version:  ${version}\n  Node:     ${process.version}\n`);
      return 0;
    case 'info':
      return (await import('./actions/info.ts')).info();
    case 'start':
      return await (await import('./actions/start.ts')).start(given);
    case 'delete':
      return (await import('./actions/delete.ts')).deleteAction(given);
    case 'spare':
      return await (await import('./actions/spare.ts')).spare(given);
    default:
      return await (await import('./actions/daemon.ts')).daemon(given, argv);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (err: unknown) => {
    writeSync(2, `containerd-shim-gantry-v1: ${messageOf(err)}\n`);
    process.exit(1);
  },
);
