/**
 * The program of the zygote, started by gantryd: `node --single-threaded main.js SCRATCH-DIRECTORY PADDING`. The padding
 * makes room for the names of the shims, whose arguments are this process's memory.
 */
import { messageOf } from '@gantry/errors';
import { join } from 'node:path';
import {
  crowdAddresses,
  findOtherLoops,
  linux,
  POLLHUP,
  PR_SET_PDEATHSIG,
  preload,
  SIGKILL,
  signals,
} from '@gantry/libc';
import { lineLog } from '../log.ts';
import { lowerOomPriority } from '../oom-score.ts';
import { controlFd } from './protocol.ts';
import { say, serve } from './zygote.ts';
import { isLackOfRoom, selfTest } from './self-test.ts';
import { settle } from './settle.ts';
import { becomeOwnProcess, liveAsSpare } from './spare.ts';
import { warmUpShim } from './warm-up.ts';

const [, , scratch = ''] = process.argv;

async function prepare(): Promise<() => void> {
  const spreadOut = crowdAddresses();
  dieWithSupervisor();
  linux.resetInheritedSignals();
  lowerOomPriority(lineLog({ debug: false }));
  preload();
  await warmUpShim(scratch);
  rehearseParting();
  process.title = 'gantry-zygote';
  return spreadOut;
}

/** What a child does first, compiled for all of them: only the event loop is really made anew. */
function rehearseParting(): void {
  const nothing = (): void => undefined;
  const played = { ...linux, setsid: () => 0, ignoreSignal: nothing, dup2: nothing, closeRange: nothing };
  becomeOwnProcess(played, {
    zygotePid: process.pid,
    otherLoops: {
      pid: process.pid,
      descriptors: new Map([
        [0, ''],
        [1, 'anon_inode:[io_uring]'],
      ]),
    },
  });
}

/** A zygote is of no use to anyone else. Shims, its children, do not inherit this (prctl(2), PR_SET_PDEATHSIG). */
function dieWithSupervisor(): void {
  linux.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL));
  const [events = 0] = linux.poll([{ fd: controlFd, events: 0 }], 0);
  if ((events & POLLHUP) !== 0) process.exit(0);
}

/** Everything from here on happens in one turn of the loop, outside of its poll phase: a child goes on from there. */
function begin(spreadOut: () => void): void {
  const inheritance = { zygotePid: process.pid, otherLoops: findOtherLoops() };
  try {
    settle();
    spreadOut();
    if (selfTest(linux, inheritance, join(scratch, 'self'))) return;
  } catch (err) {
    sayWhyNot(err);
    linux.exitNow(1);
  }
  // The kernel reaps the shims: nobody here waits for them.
  linux.ignoreSignal(signals['SIGCHLD'] ?? 17, true);
  const request = serve(linux);
  if (request === undefined) linux.exitNow(0);
  liveAsSpare(request, inheritance);
}

function sayWhyNot(err: unknown): void {
  say(isLackOfRoom(err) ? { noRoom: messageOf(err) } : { unfit: messageOf(err) });
}

prepare().then(
  (spreadOut) => setImmediate(begin, spreadOut),
  (err: unknown) => {
    sayWhyNot(err);
    process.exit(1);
  },
);
