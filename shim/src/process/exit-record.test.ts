import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseExitRecord, readExitRecord, writeExitRecord } from './exit-record.ts';

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-exit-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

t.test('a record is read back as it was written, and nothing else is left beside it', async (t) => {
  const bundle = scratch();
  const record = { pid: 42, exitStatus: 137, exitedAtNs: 1_700_000_000_123_456_789n, oomKilled: true };
  writeExitRecord(bundle, record);
  t.same(readExitRecord(bundle), record);
  t.same(readdirSync(bundle), ['exit.json']);
  t.same(JSON.parse(readFileSync(join(bundle, 'exit.json'), 'utf8')), {
    pid: 42,
    exitStatus: 137,
    exitedAt: '2023-11-14T22:13:20.123456789Z',
    oomKilled: true,
  });
});

t.test('no record and a damaged record are no record', async (t) => {
  const bundle = scratch();
  t.equal(readExitRecord(bundle), undefined);
  for (const text of ['', '{', '[]', 'null', '{"pid":1}', '{"pid":1,"exitStatus":0,"exitedAt":"yesterday"}']) {
    writeFileSync(join(bundle, 'exit.json'), text);
    t.equal(readExitRecord(bundle), undefined, text);
  }
});

t.test('a record without an oom field says no', async (t) => {
  t.equal(parseExitRecord('{"pid":1,"exitStatus":0,"exitedAt":"2023-11-14T22:13:20Z"}')?.oomKilled, false);
});
