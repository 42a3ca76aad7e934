/** The second start of `gantry-runtime`, from a node binary that no container can write to: see main.ts. */
import { runCommand } from './run-command.ts';

process.exit(await runCommand(process.argv.slice(2)));
