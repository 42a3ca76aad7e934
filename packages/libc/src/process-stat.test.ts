import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { processStartTime, processState } from './process-stat.ts';

t.test('the start time of this process is the same each time it is asked for', async (t) => {
  const first = processStartTime(process.pid);
  t.ok(first !== undefined && first > 0n);
  t.equal(processStartTime(process.pid), first);
});

t.test('a process that does not exist has no start time', async (t) => {
  t.equal(processStartTime(2 ** 30), undefined);
  t.equal(processStartTime(0), undefined);
  t.equal(processStartTime(-1), undefined);
});

t.test('a name with blanks and parentheses does not shift the fields', async (t) => {
  const proc = mkdtempSync(join(tmpdir(), 'gantry-libc-'));
  t.teardown(() => rmSync(proc, { recursive: true }));
  mkdirSync(join(proc, '7'));
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
  fields[0] = 'Z';
  writeFileSync(join(proc, '7', 'stat'), `7 (a) R 1 ) (b c) ${fields.join(' ')}\n`);
  t.equal(processStartTime(7, proc), 22n);
  t.same(processState(7, proc), { state: 'Z', startTime: 22n });
});
