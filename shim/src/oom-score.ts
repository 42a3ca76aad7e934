/** The kernel's choice under memory pressure: containers before shims, shims before the supervisor. */
import { readFileSync, writeFileSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { ShimLog } from './log.ts';

const file = '/proc/self/oom_score_adj';

/**
 * One more than what was inherited from the supervisor, at most 1000 (proc(5), oom_score_adj). Raising is allowed to
 * everybody, but not in every container: EACCES and EPERM leave it as it is.
 */
export function lowerOomPriority(log: ShimLog): void {
  try {
    const inherited = Number.parseInt(readFileSync(file, 'utf8'), 10);
    writeFileSync(file, String(Math.min(inherited + 1, 1000)));
  } catch (err) {
    if (!isErrno(err, 'EACCES', 'EPERM')) log.warn('oom_score_adj', { error: messageOf(err) });
  }
}
