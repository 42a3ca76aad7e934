import t from 'tap';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linux, RecordingSyscalls } from '@gantry/libc';
import { deleteLeftovers } from './delete.ts';
import { readState, removeState, writePid, writeState } from './state.ts';

t.test('the record is written whole, read back, and removed', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-state-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const state = { id: 'c', pid: 7, startTime: '12345678901234567890', cgroupPaths: { memory: '/x' } };
  writeState(linux, dir, state);
  writePid(linux, dir, 7);
  t.same(readState(dir), state);
  t.equal(readFileSync(join(dir, 'init.pid'), 'utf8'), '7');
  t.same(readdirSync(dir).toSorted(), ['init.pid', 'state.json']);
  removeState(linux, dir);
  removeState(linux, dir);
  t.equal(readState(dir), undefined);
  t.equal(readState(join(dir, 'nowhere')), undefined);
  t.end();
});

t.test('a record that was damaged is an error and nothing is signalled', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-state-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  for (const text of ['', '{', '[]', '{}', '{"id":"c","pid":"1","startTime":"1","cgroupPaths":{}}']) {
    writeFileSync(join(dir, 'state.json'), text);
    const sys = new RecordingSyscalls();
    t.throws(() => deleteLeftovers(sys, dir), { code: 'data loss' }, text);
    t.same(sys.names(), []);
  }
  t.end();
});

t.test('a bundle without a record is nothing to do', (t) => {
  const sys = new RecordingSyscalls();
  deleteLeftovers(sys, '/nowhere/at/all');
  t.same(sys.names(), []);
  t.end();
});
