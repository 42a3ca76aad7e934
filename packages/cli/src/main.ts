/** The process `gantry`: one command line in, one exit status out. */
import { runCommandLine } from './cli.ts';

process.exit(await runCommandLine(process.argv.slice(2)));
