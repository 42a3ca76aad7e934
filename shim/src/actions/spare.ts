/** `spare`: this process becomes a shim without a container, for gantryd where shims cannot be forked. */
import { linux } from '@gantry/libc';
import { createContainer, restoreContainer } from '@gantry/runtime';
import { invalidArgument } from '@gantry/errors';
import type { ShimArguments } from '../arguments.ts';
import { lineLog } from '../log.ts';
import { lowerOomPriority } from '../oom-score.ts';
import { runSpare } from '../run-shim.ts';
import { version } from '../version.ts';
import { announceOnStdout } from './announce.ts';

/** Resolves with the exit code. */
export async function spare(given: ShimArguments): Promise<number> {
  if (given.socket === '') throw invalidArgument('flag -socket is missing');
  linux.resetInheritedSignals();
  lowerOomPriority(lineLog({ debug: given.debug }));
  return await runSpare({
    version,
    sys: linux,
    createContainer,
    restoreContainer,
    makeLog: lineLog,
    socketPath: given.socket,
    announce: announceOnStdout,
  });
}
