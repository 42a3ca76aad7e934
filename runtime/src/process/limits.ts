/**
 * Resource limits of a process (getrlimit(2)).
 *
 * They are set before the process gives up its identity, by itself or, where it is in a user namespace and has no
 * privileges to raise one, by the parent. The limits on address space would hit the set-up itself, so these are lowered
 * by the process as the last thing it does.
 */
import { unknown, wrap } from '@gantry/errors';
import { errnoDescription, isErrno, resourceLimits, SyscallError } from '@gantry/libc';
import type { ProcessCalls, ResourceLimit } from '@gantry/libc';
import { toUint64 } from '@gantry/oci';
import type { Process } from '@gantry/oci';
import { writeOnce } from '../namespaces/user-mappings.ts';
import type { MappingCalls } from '../namespaces/user-mappings.ts';

export interface LimitToSet extends ResourceLimit {
  readonly resource: number;
}

export type LimitCalls = Pick<ProcessCalls, 'setResourceLimit' | 'getResourceLimit'>;

const RLIMIT_DATA = 2;
const RLIMIT_AS = 9;

/** The configuration's limits by number. */
export function limitsToSet(process: Process): LimitToSet[] {
  return (process.rlimits ?? []).map(({ type, soft, hard }) => ({
    resource: resourceLimits[type] ?? -1,
    soft: toUint64(soft),
    hard: toUint64(hard),
  }));
}

/** True for a limit that the process lowers itself. */
function hampersSetUp({ resource }: LimitToSet): boolean {
  return resource === RLIMIT_AS || resource === RLIMIT_DATA;
}

/** Sets the limits of `pid` (0: the caller); of those that would hamper its set-up only what has to be raised. */
export function setLimits(sys: LimitCalls, pid: number, limits: readonly LimitToSet[]): void {
  for (const limit of limits) {
    if (hampersSetUp(limit) && limit.hard <= sys.getResourceLimit(pid, limit.resource).hard) continue;
    setLimit(sys, pid, limit);
  }
}

/** The process's own part. */
export function lowerOwnLimits(sys: LimitCalls, limits: readonly LimitToSet[]): void {
  for (const limit of limits) if (hampersSetUp(limit)) setLimit(sys, 0, limit);
}

/** The words are runc's, which callers look for. */
function setLimit(sys: LimitCalls, pid: number, limit: LimitToSet): void {
  try {
    sys.setResourceLimit(pid, limit.resource, limit);
  } catch (err) {
    const reason = err instanceof SyscallError ? errnoDescription(err.errno) : 'failed';
    throw wrap(err, `error setting rlimits for ready process: error setting rlimit type ${limit.resource}: ${reason}`);
  }
}

/** Sets the OOM score of a process, by the host's procfs; `pid` may be `self`. Undefined leaves it as it is. */
export function setOomScore(sys: MappingCalls, pid: number | 'self', score: number | undefined): void {
  if (score === undefined) return;
  try {
    writeOnce(sys, `/proc/${pid}/oom_score_adj`, String(score));
  } catch (err) {
    if (isErrno(err, 'EACCES')) {
      const sentence = 'process.oomScoreAdj: failed to update /proc/self/oom_score_adj: Permission denied';
      throw unknown(sentence, {}, err);
    }
    throw wrap(err, 'process.oomScoreAdj');
  }
}

/** As `setOomScore`, by an ordinary user, who may not lower it: as low as it may be is good enough. */
export function setOwnOomScore(sys: MappingCalls, pid: number | 'self', score: number | undefined): void {
  try {
    setOomScore(sys, pid, score);
  } catch (err) {
    if (!isErrno(rootOf(err), 'EACCES')) throw err;
  }
}

function rootOf(err: unknown): unknown {
  return err instanceof Error && err.cause !== undefined ? rootOf(err.cause) : err;
}
