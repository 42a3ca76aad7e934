/** The command line itself, and what `build/` needs of it. */
import { runCommand } from './run-command.ts';

export { rehearse } from '../warm-up.ts';
export { runCommand } from './run-command.ts';

/** Carries a command out and ends the process with its status. */
export function carryOut(argv: readonly string[]): void {
  // The exit does not wait for anything: a command leaves nothing under way.
  runCommand(argv).then(
    (status) => process.exit(status),
    (err: unknown) => {
      process.stderr.write(`${String(err)}\n`);
      process.exit(1);
    },
  );
}
