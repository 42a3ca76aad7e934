import t from 'tap';
import type { Test } from 'tap';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TaskRecords } from './record.ts';
import type { TaskRecord } from './record.ts';

const record: TaskRecord = {
  runtime: 'io.containerd.runc.v2',
  createdAtNs: 1_700_000_000_123_456_789n,
  stdin: '',
  stdout: '/run/out',
  stderr: 'file:///err',
  terminal: true,
  runningPid: undefined,
  exit: undefined,
};

function place(test: Test): { state: string; records: TaskRecords } {
  const state = mkdtempSync(path.join(tmpdir(), 'gantry-records-'));
  test.teardown(() => rmSync(state, { recursive: true, force: true }));
  const records = new TaskRecords(state);
  records.prepare();
  return { state, records };
}

t.test('what is written is listed, by another supervisor too', (t) => {
  const { state, records } = place(t);
  const ended = { ...record, exit: { pid: 7, status: 137, atNs: 5n } };
  records.create({ namespace: 'a', id: 'x' }, record);
  records.create({ namespace: 'b', id: 'x' }, record);
  records.replace({ namespace: 'b', id: 'x' }, { ...record, runningPid: 7 });
  t.equal(new TaskRecords(state).list().find(({ namespace }) => namespace === 'b')?.record.runningPid, 7);
  records.replace({ namespace: 'b', id: 'x' }, ended);
  const listed = new TaskRecords(state).list().toSorted((one, other) => (one.namespace < other.namespace ? -1 : 1));
  t.same(listed, [
    { namespace: 'a', id: 'x', record },
    { namespace: 'b', id: 'x', record: ended },
  ]);
  t.end();
});

t.test('what is removed is gone, and may be removed again', (t) => {
  const { records } = place(t);
  const name = { namespace: 'a', id: 'x' };
  records.create(name, record);
  records.remove(name);
  records.remove(name);
  t.same(records.list(), []);
  t.end();
});

t.test('what a dying writer left is no record and goes', (t) => {
  const { state, records } = place(t);
  records.create({ namespace: 'a', id: 'good' }, record);
  const dir = path.join(state, 'tasks', 'a');
  writeFileSync(path.join(dir, 'empty'), '');
  writeFileSync(path.join(dir, '.good'), '{"runtime":');
  t.same(
    records.list().map(({ id }) => id),
    ['good'],
  );
  t.same(readdirSync(dir), ['good']);
  t.end();
});
