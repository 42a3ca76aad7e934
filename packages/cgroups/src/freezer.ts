/** Stopping and continuing a whole group. Waiting is bounded by the caller's time. */
import { closeSync, openSync, readSync } from 'node:fs';
import { deadlineExceeded, failedPrecondition, isCode } from '@gantry/errors';
import { isErrno, linux, monotonicMs, POLLPRI } from '@gantry/libc';
import { readGroupFile, writeGroupFile } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';
import type { CgroupCalls } from './hierarchy.ts';

type PollCalls = Pick<CgroupCalls, 'poll'>;

const firstPauseMs = 1;
const longestPauseMs = 20;

/**
 * A process that forks while v1 freezes can leave the group in FREEZING for good; letting it run for a moment and
 * freezing again ends that.
 */
const pausesBeforeRestart = 10;

const stateFile = 'freezer.state';

function writeState(directory: string, state: 'FROZEN' | 'THAWED'): void {
  try {
    writeGroupFile(directory, stateFile, state);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENODEV')) throw failedPrecondition(`control group ${directory}: no freezer`, {}, err);
    throw err;
  }
}

/** Freezes a v1 group; on failure it is thawed again. */
export function freezeV1(sys: PollCalls, directory: string, timeoutMs: number): void {
  const deadline = monotonicMs() + timeoutMs;
  let pauseMs = firstPauseMs;
  writeState(directory, 'FROZEN');
  for (let pauses = 1; readGroupFile(directory, stateFile)?.trim() === 'FREEZING'; pauses++) {
    const remainingMs = deadline - monotonicMs();
    if (remainingMs <= 0) {
      writeState(directory, 'THAWED');
      throw deadlineExceeded(`freezing control group ${directory}`);
    }
    sys.poll([], Math.min(pauseMs, remainingMs));
    pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    if (pauses % pausesBeforeRestart === 0) {
      writeState(directory, 'THAWED');
      writeState(directory, 'FROZEN');
    }
  }
}

/** Thawing a v1 group takes effect at once. */
export function thawV1(directory: string): void {
  if (readGroupFile(directory, stateFile)?.trim() !== 'THAWED') writeState(directory, 'THAWED');
}

/** True also while the freeze is under way. */
export function isFrozenV1(directory: string, sys: GroupFileCalls = linux): boolean {
  const state = readGroupFile(directory, stateFile, sys)?.trim();
  return state === 'FROZEN' || state === 'FREEZING';
}

/** Freezes (or thaws) a v2 group and waits until the kernel reports it; a freeze that takes too long is undone. */
export function setFrozenV2(sys: PollCalls, directory: string, frozen: boolean, timeoutMs: number): void {
  const deadline = monotonicMs() + timeoutMs;
  writeFreeze(directory, frozen);
  const events = openSync(`${directory}/cgroup.events`, 'r');
  try {
    while (isFrozenIn(readEvents(events)) !== frozen) {
      const remainingMs = deadline - monotonicMs();
      if (remainingMs <= 0) {
        if (frozen) writeFreeze(directory, false);
        throw deadlineExceeded(`${frozen ? 'freezing' : 'thawing'} control group ${directory}`);
      }
      // The kernel announces a change of the file; the bound covers a change between the read and the wait.
      sys.poll([{ fd: events, events: POLLPRI }], Math.min(longestPauseMs, remainingMs));
    }
  } finally {
    closeSync(events);
  }
}

function writeFreeze(directory: string, frozen: boolean): void {
  try {
    writeGroupFile(directory, 'cgroup.freeze', frozen ? '1' : '0');
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENODEV')) throw failedPrecondition(`control group ${directory}: no freezer`, {}, err);
    throw err;
  }
}

function readEvents(fd: number): string {
  const buffer = Buffer.alloc(256);
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
}

function isFrozenIn(events: string): boolean {
  return /^frozen 1$/m.test(events);
}

/** True when the group was told to freeze. */
export function isFrozenV2(directory: string, sys: GroupFileCalls = linux): boolean {
  return readGroupFile(directory, 'cgroup.freeze', sys)?.trim() === '1';
}

/** How long a group is given to stand still before it is signalled; one that cannot is signalled as it runs. */
const holdTimeoutMs = 200;

/** Whether the group stands still; false when it does not in time, or has no freezer. */
export function frozeInTime(group: { freeze(timeoutMs: number): void }): boolean {
  try {
    group.freeze(holdTimeoutMs);
    return true;
  } catch (err) {
    if (isCode(err, 'deadline exceeded') || isCode(err, 'failed precondition')) return false;
    throw err;
  }
}
