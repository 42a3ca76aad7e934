/** What a forked child does to become a process of its own, and its life as a shim. */
import { closeSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import { detachFromOtherLoops, linux, reopenEventLoop, signals } from '@gantry/libc';
import type { OtherLoops, Syscalls } from '@gantry/libc';
import { createContainer, restoreContainer } from '@gantry/runtime';
import { lineLog } from '../log.ts';
import { runSpare } from '../run-shim.ts';
import { version } from '../version.ts';
import { reseedMathRandom } from './own-randomness.ts';
import { controlFd } from './protocol.ts';
import type { ForkRequest } from './protocol.ts';
import { say } from './zygote.ts';

/** What a child must know of its parent to part from it. */
export interface Inheritance {
  readonly zygotePid: number;
  /** Descriptors of event loops that a child has no threads for. */
  readonly otherLoops: OtherLoops;
}

/**
 * To be called in the child before anything else: its own session, event loop, descriptors, SIGCHLD and randomness, and
 * its own pid where Node remembers its parent's.
 */
export function becomeOwnProcess(
  sys: Pick<Syscalls, 'setsid' | 'getpid' | 'ignoreSignal' | 'dup2' | 'closeRange'>,
  { otherLoops }: Inheritance,
): void {
  reopenEventLoop();
  detachFromOtherLoops(sys, otherLoops);
  reseedMathRandom();
  sys.setsid();
  sys.ignoreSignal(signals['SIGCHLD'] ?? 17, false);
  Object.defineProperty(process, 'pid', { value: sys.getpid(), enumerable: true, configurable: true });
}

/** Never returns to the zygote's code: the process ends with the shim, without Node's own end, which is not fork-safe. */
export function liveAsSpare(request: ForkRequest, inheritance: Inheritance): void {
  becomeOwnProcess(linux, inheritance);
  // Errors are part of the usual course, say what failed on what, and are nobody's to debug here.
  Error.stackTraceLimit = 0;
  process.title = `containerd-shim-gantry-v1 -spare ${request.socket}`;
  let announced = false;
  const announce = (): void => {
    say({ listening: request.fork });
    announced = true;
    closeSync(controlFd);
  };
  runSpare({
    version,
    parent: inheritance.zygotePid,
    sys: linux,
    createContainer,
    restoreContainer,
    makeLog: lineLog,
    socketPath: request.socket,
    announce,
  }).then(
    (code) => linux.exitNow(code),
    (err: unknown) => {
      if (!announced) sayLost(request, err);
      linux.exitNow(1);
    },
  );
}

/** As long as the control descriptor is still there; gantryd sees the process end in any case. */
function sayLost({ fork }: ForkRequest, err: unknown): void {
  try {
    say({ lost: fork, error: messageOf(err) });
  } catch {
    // Nobody listens any more.
  }
}
