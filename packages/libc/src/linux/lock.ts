/** Locks between processes on an open file (flock(2)). They end with the last descriptor of that open file. */
import { EAGAIN } from '../errno.ts';
import { check, declare, errno, interrupted } from '../native.ts';
import type { FileCalls } from '../syscalls.ts';

const c = declare('glibc', {
  flock: 'int flock(int fd, int operation)',
});

const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

export const lockCalls: Pick<FileCalls, 'lock'> = {
  lock(fd, taken) {
    let result: number;
    do result = c.flock(fd, taken ? LOCK_EX | LOCK_NB : LOCK_UN);
    while (interrupted(result));
    if (result < 0 && errno() === EAGAIN) return false;
    check(result, 'flock', fd);
    return true;
  },
};
