/** The process `gantry`: one command line in, one exit status out. */
import { runCommandLine } from './cli.ts';
import { closedPipe, gantryFailed } from './exit-codes.ts';

let lost: Error | undefined;
process.stdout.on('error', (err: NodeJS.ErrnoException) => {
  lost ??= err;
  // As any command in a pipe whose reader has gone; who has a container to end listens too and ends by himself.
  if (err.code === 'EPIPE' && process.stdout.listenerCount('error') === 1) process.exit(closedPipe);
});
// There is nobody left to tell.
process.stderr.on('error', () => undefined);

const status = await runCommandLine(process.argv.slice(2));
// What could not be written must not look like what has been.
await new Promise<void>((resolve) => {
  process.stdout.write('', () => setImmediate(resolve));
});
if (lost !== undefined && status === 0) process.stderr.write(`gantry: writing to stdout: ${lost.message}\n`);
process.exit(lost !== undefined && status === 0 ? gantryFailed : status);
