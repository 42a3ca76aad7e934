/** The parent's part in a process's set-up, the same for init and for exec. */
import { GantryError, internal, isCode, messageOf, wrap } from '@gantry/errors';
import type { Cgroup } from '@gantry/cgroups';
import type { Syscalls } from '@gantry/libc';
import type { Child } from './child.ts';
import type { CleanUp } from './clean-up.ts';
import type { Deadline, ParentChannel, ListenerMessage, Received } from './handshake.ts';
import { setLimits, setOomScore } from './process/limits.ts';
import type { ProcessPlan } from './process/plan.ts';

export interface SetUp {
  readonly child: Child;
  readonly channel: ParentChannel;
  readonly deadline: Deadline;
  readonly plan: ProcessPlan;
  readonly cleanUp: CleanUp;
  readonly cgroup: Cgroup;
  /** The child cannot set its limits itself (`InitPlan`). */
  readonly limitsByParent: boolean;
  /** Of the group, before the child could be killed in it. */
  readonly killsBefore: number;
  /** Hooks that are run when the child has made its mounts; undefined when there are none. */
  readonly runHooks?: (() => void) | undefined;
  /** Passes the listener of the process's filter on; undefined when nobody asked for it. */
  readonly passListener?: ((message: ListenerMessage) => void) | undefined;
  /** What ends the set-up: init says that it was created, an exec'd process becomes its program. */
  readonly last: 'created' | 'executing';
}

/** The parent's part of the handshake from the birth on. Returns the terminal's master, which is the caller's. */
export function completeSetUp(sys: Syscalls, setUp: SetUp): number | undefined {
  const { child, channel, deadline, plan, cleanUp, cgroup, limitsByParent, runHooks, passListener, last } = setUp;
  let console: number | undefined;
  try {
    // It is executed within moments, and everything it says until then can be heard at once.
    if (last === 'executing' && !limitsByParent && passListener === undefined)
      channel.awaitHangUp(deadline, child.pidfd);
    let message = child.receive(channel, deadline);
    if (message.kind === 'hooks' && runHooks !== undefined) {
      runHooks();
      channel.send('resume');
      message = child.receive(channel, deadline);
    }
    if (message.kind === 'console') {
      const { master } = message;
      console = master;
      cleanUp.add(() => sys.close(master));
      message = child.receive(channel, deadline);
    }
    if (limitsByParent) {
      expectMessage(message, 'ready');
      setLimits(sys, child.pid, plan.limits);
      setOomScore(sys, child.pid, plan.oomScoreAdj);
      channel.send('proceed');
      message = child.receive(channel, deadline);
    }
    expectMessage(message, last);
    if (last !== 'executing') return console;
    const next = channel.receive(deadline, child.pidfd);
    if (next.kind !== 'listener' || passListener === undefined) expectMessage(next, 'eof');
    else {
      passListener(next);
      channel.send('proceed');
      expectMessage(channel.receive(deadline, child.pidfd), 'eof');
    }
    return console;
  } catch (err) {
    const wasKilled = cgroup.oomKills() > setUp.killsBefore;
    throw startError(wasKilled ? wrap(err, 'possibly OOM-killed') : err);
  }
}

export function expectMessage({ kind }: Received, wanted: Received['kind']): void {
  if (kind !== wanted) throw internal(`container process said ${kind}, not ${wanted}`);
}

/** The words and the class are runc's, which callers look for; only a deadline keeps its own class. */
export function startError(err: unknown): GantryError {
  const code = isCode(err, 'deadline exceeded') ? 'deadline exceeded' : 'unknown';
  return new GantryError(code, `unable to start container process: ${messageOf(err)}`, { cause: err });
}
