/** No action: this process becomes the shim. */
import { nowNs, sandboxShim } from '@gantry/api/shim';
import { invalidArgument } from '@gantry/errors';
import { linux } from '@gantry/libc';
import { createContainer, restoreContainer } from '@gantry/runtime';
import type { ShimArguments } from '../arguments.ts';
import { lineLog } from '../log.ts';
import { lowerOomPriority } from '../oom-score.ts';
import { forkingFlags } from '../forking-flags.ts';
import { runShim } from '../run-shim.ts';
import { SandboxService } from '../sandbox-service.ts';
import { version } from '../version.ts';
import { announceOnStdout } from './announce.ts';

/** Resolves with the exit code. Never returns when Node has to be started again with the flags it needs. */
export async function daemon(given: ShimArguments, argv: readonly string[]): Promise<number> {
  if (!forkingFlags.every((flag) => process.execArgv.includes(flag))) restart(argv);
  if (given.namespace === '') throw invalidArgument('flag -namespace is missing');
  if (given.id === '') throw invalidArgument('flag -id is missing');
  const log = lineLog({ debug: given.debug });
  linux.resetInheritedSignals();
  lowerOomPriority(log);
  return await runShim({
    namespace: given.namespace,
    id: given.id,
    socketPath: given.socket === '' ? (await import('./socket-path.ts')).socketPathFor(given) : given.socket,
    eventsPath: eventsPath(given.address, process.env['TTRPC_ADDRESS']),
    version,
    sys: linux,
    createContainer,
    restoreContainer,
    log,
    announce: announceOnStdout,
    serve: (shim) => {
      const onShutdown = (): void => shim.shutDown();
      const sandbox = new SandboxService({ id: given.id, pid: linux.getpid(), nowNs, onShutdown });
      shim.server.register(sandboxShim.SandboxService, sandbox);
    },
  });
}

/** execve(2) of the same program with the flags: the pid stays. */
function restart(argv: readonly string[]): never {
  const script = process.argv[1] ?? '';
  // Node has marked its standard descriptors close-on-exec; the line on stdout is still to come.
  for (const fd of [0, 1, 2]) linux.setCloseOnExec(fd, false);
  const environment = Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`);
  return linux.execve(process.execPath, [process.execPath, ...forkingFlags, script, ...argv], environment);
}

/** Where events go: TTRPC_ADDRESS, else beside the supervisor's gRPC socket; a scheme is taken off. */
export function eventsPath(address: string, ttrpcAddress: string | undefined): string | undefined {
  const chosen =
    ttrpcAddress !== undefined && ttrpcAddress !== '' ? ttrpcAddress : address === '' ? '' : `${address}.ttrpc`;
  return chosen === '' ? undefined : chosen.replace(/^unix:\/\//, '');
}
