/** A spare shim becomes that of a container: it takes the bundle, the log and the socket of its own. */
import { closeSync, openSync, readdirSync, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { gantryShim } from '@gantry/api/shim';
import { checkIdentifier } from '@gantry/api/shim';
import { failedPrecondition, invalidArgument, messageOf } from '@gantry/errors';
import { PR_SET_PDEATHSIG } from '@gantry/libc';
import type { ShimLog } from './log.ts';
import type { SpareOptions } from './run-shim.ts';
import type { ShimProcess } from './shim-process.ts';

/**
 * Runs to its end without giving way to another call: a Create that follows on the same connection finds the task
 * service there. Throws invalid argument, failed precondition, or Node's file system errors; the spare is of no use then.
 */
export function adopt(
  shim: ShimProcess,
  { sys, socketPath, makeLog }: Pick<SpareOptions, 'sys' | 'socketPath' | 'makeLog'>,
  request: gantryShim.AdoptRequest,
): void {
  const { namespace, id, bundle, socket, events, config, options, debug } = request;
  if (shim.isAssigned) throw failedPrecondition('this shim has a container already');
  checkIdentifier('namespace', namespace);
  checkIdentifier('container', id);
  for (const path of [bundle, socket]) if (!isAbsolute(path)) throw invalidArgument(`"${path}": not an absolute path`);
  sys.prctl(PR_SET_PDEATHSIG, 0n);
  process.chdir(bundle);
  writeFileSync('config.json', config, { mode: 0o600, flag: 'wx' });
  writeFileSync('options.json', options, { mode: 0o600, flag: 'wx' });
  // From here on whatever is said to standard error is said about this container.
  const fd = openSync('log', 'a', 0o600);
  sys.dup2(fd, 2);
  closeSync(fd);
  renameSync(socketPath, socket);
  // As far as it fits into the arguments that the process was started with; ps(1) shows it.
  process.title = `containerd-shim-gantry-v1 -namespace ${namespace} -id ${id} -bundle ${bundle}`;
  if (debug) Error.stackTraceLimit = 10;
  const log = makeLog({ debug });
  const release = (): void => removeOwn(bundle, socket, log);
  shim.assign({ namespace, id, eventsPath: events === '' ? undefined : events, log, release });
}

/** The task was deleted: bundle and socket go. What cannot be removed is left to the supervisor, which looks after us. */
function removeOwn(bundle: string, socket: string, log: ShimLog): void {
  try {
    unlinkSync(socket);
    for (const name of readdirSync(bundle)) unlinkSync(join(bundle, name));
    rmdirSync(bundle);
  } catch (err) {
    log.warn('removing the bundle', { error: messageOf(err) });
  }
}
