import t from 'tap';
import { timestampFromDate } from '@gantry/api';
import { imageFilter } from './filters.ts';
import { splitName } from './rows.ts';
import type { ImageRow } from './rows.ts';

const nowMs = Date.parse('2026-01-10T00:00:00Z');

function row(name: string, day: number, labels: Record<string, string> = {}): ImageRow {
  const created = new Date(Date.UTC(2026, 0, day));
  const digest = `sha256:${String(day).padStart(64, '0')}`;
  const createdAt = timestampFromDate(created);
  const image = { name, labels: {}, target: undefined, createdAt, updatedAt: createdAt };
  return { image, ...splitName(name), id: digest, sizeBytes: 1, created, platform: 'linux/amd64', labels };
}

const rows = [
  row('docker.io/library/busybox:1', 1, { a: 'b', c: '' }),
  row('docker.io/library/busybox:2', 5),
  row('docker.io/team/app:latest', 8, { a: 'x' }),
  row(`a.example/left@sha256:${'1'.repeat(64)}`, 9),
];

function kept(...filters: string[]): readonly string[] {
  return rows.filter(imageFilter(filters, rows, undefined, nowMs)).map(({ repository, tag }) => `${repository}:${tag}`);
}

t.test('images are chosen by name, tag, age and labels', (t) => {
  t.equal(kept().length, 4);
  t.same(kept('reference=busybox'), ['busybox:1', 'busybox:2']);
  t.same(kept('reference=busybox:2'), ['busybox:2']);
  t.same(kept('reference=b*:?'), ['busybox:1', 'busybox:2']);
  t.same(kept('reference=*'), ['busybox:1', 'busybox:2'], 'a star does not cross a slash');
  t.same(kept('reference=*/*'), ['team/app:latest', 'a.example/left:<none>']);
  t.same(kept('reference=busybox:[12]', 'reference=team/app'), ['busybox:1', 'busybox:2', 'team/app:latest']);
  t.same(kept('dangling=true'), ['a.example/left:<none>']);
  t.equal(kept('dangling=false').length, 3);
  t.same(kept('label=a'), ['busybox:1', 'team/app:latest']);
  t.same(kept('label=a=b'), ['busybox:1']);
  t.same(kept('label=a', 'label=c'), ['busybox:1'], 'all labels that are named');
  t.same(kept('label!=a'), ['busybox:2', 'a.example/left:<none>']);
  t.same(kept('before=busybox:2'), ['busybox:1']);
  t.same(kept('since=busybox:2'), ['team/app:latest', 'a.example/left:<none>']);
  t.same(kept('since=team/app'), ['a.example/left:<none>'], 'latest goes without saying');
  t.same(kept('until=72h'), ['busybox:1', 'busybox:2']);
  t.same(kept('until=2026-01-02'), ['busybox:1']);
  t.same(kept('until=1767312000'), ['busybox:1'], 'seconds since 1970');
  t.end();
});

t.test('what is no filter is refused by name', (t) => {
  t.throws(() => kept('size=1'), { code: 'invalid argument', message: /"size=1" is not a filter.*dangling, label/ });
  t.throws(() => kept('busybox'), { code: 'invalid argument' });
  t.throws(() => kept('dangling=maybe'), { code: 'invalid argument' });
  t.throws(() => kept('until=soon'), { code: 'invalid argument', message: /neither a time such as 24h nor a date/ });
  t.throws(() => kept('reference=[z-a]'), { code: 'invalid argument' });
  t.throws(() => kept('since=nothing'), { code: 'not found' });
  t.end();
});
