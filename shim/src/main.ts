/** The program `containerd-shim-gantry-v1`: parses the command line and runs one action. */
import { writeSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import { daemon } from './actions/daemon.ts';
import { deleteAction } from './actions/delete.ts';
import { info } from './actions/info.ts';
import { start } from './actions/start.ts';
import { parseArguments } from './arguments.ts';
import { version } from './version.ts';

async function main(argv: readonly string[]): Promise<number> {
  const given = parseArguments(argv);
  switch (given.action) {
    case 'version':
      writeSync(1, `containerd-shim-gantry-v1:\n  Version:  ${version}\n  Node:     ${process.version}\n`);
      return 0;
    case 'info':
      return info();
    case 'start':
      return await start(given);
    case 'delete':
      return deleteAction(given);
    default:
      return await daemon(given, argv);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (err: unknown) => {
    writeSync(2, `containerd-shim-gantry-v1: ${messageOf(err)}\n`);
    process.exit(1);
  },
);
