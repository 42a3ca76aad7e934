import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { cachedProgram, cacheProgram, useFilterCache } from './filter-cache.ts';

const program = Buffer.from([6, 0, 0, 0, 0, 0, 255, 127]);

function cache(t: { teardown(done: () => void): void }): { dir: string; file: () => string } {
  const top = mkdtempSync(join(tmpdir(), 'gantry-filters-'));
  const dir = join(top, 'filters');
  useFilterCache(dir);
  t.teardown(() => {
    useFilterCache(undefined);
    rmSync(top, { recursive: true });
  });
  return { dir, file: () => join(dir, readdirSync(dir)[0] ?? '') };
}

t.test('a program is found by exactly what it was built from, in a directory of our own', (t) => {
  const { dir, file } = cache(t);
  t.equal(cachedProgram('{"a":1}'), undefined);
  cacheProgram('{"a":1}', program);
  t.same(cachedProgram('{"a":1}'), program);
  t.equal(cachedProgram('{"a":2}'), undefined);
  t.equal(statSync(dir).mode & 0o777, 0o700);
  t.equal(statSync(file()).mode & 0o777, 0o600);
  t.equal(readdirSync(dir).length, 1, 'nothing temporary stays');
  t.end();
});

t.test('a file that is not ours alone, of another source or cut short is not believed', (t) => {
  const { file } = cache(t);
  cacheProgram('{"a":1}', program);
  const whole = readFileSync(file());
  chmodSync(file(), 0o622);
  t.equal(cachedProgram('{"a":1}'), undefined);
  chmodSync(file(), 0o600);
  writeFileSync(file(), Buffer.concat([Buffer.from('{"b":1}'), whole.subarray(7)]));
  t.equal(cachedProgram('{"a":1}'), undefined);
  writeFileSync(file(), whole.subarray(0, 8));
  t.equal(cachedProgram('{"a":1}'), undefined);
  const path = file();
  rmSync(path);
  symlinkSync('/etc/passwd', path);
  t.equal(cachedProgram('{"a":1}'), undefined);
  t.end();
});

t.test('without a directory, or where none can be made, nothing is kept and nothing fails', (t) => {
  useFilterCache(undefined);
  cacheProgram('x', program);
  t.equal(cachedProgram('x'), undefined);
  useFilterCache('/proc/nowhere');
  cacheProgram('x', program);
  t.equal(cachedProgram('x'), undefined);
  useFilterCache(undefined);
  t.end();
});
