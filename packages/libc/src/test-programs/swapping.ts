/**
 * An attacker for tests: `node swapping.js A B [A B …]` exchanges the two entries of each pair with one call
 * (renameat2(2), RENAME_EXCHANGE), over and over, until it is killed or its parent ends.
 */
import { writeSync } from 'node:fs';
import { linux } from '../linux.ts';
import { declare } from '../native.ts';

const c = declare('glibc', {
  renameat2: 'int renameat2(int fromFd, const char *from, int toFd, const char *to, uint flags)',
});

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9n;

linux.prctl(PR_SET_PDEATHSIG, SIGKILL);
const paths = process.argv.slice(2);
writeSync(1, 'swapping\n');
for (;;) {
  for (let at = 0; at + 1 < paths.length; at += 2) {
    // One that is busy or was replaced by the other side is tried again the next time.
    c.renameat2(AT_FDCWD, paths[at] ?? '', AT_FDCWD, paths[at + 1] ?? '', RENAME_EXCHANGE);
  }
}
