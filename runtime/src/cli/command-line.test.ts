import t from 'tap';
import type { Flag } from './arguments.ts';
import { parseFlags } from './arguments.ts';
import { bigJson } from './big-json.ts';
import { parseSignal } from './commands/kill.ts';
import { expandList } from './event-data.ts';
import { parseUser } from './exec-process.ts';
import { mergeResources } from './merge-resources.ts';
import { parseSize } from './sizes.ts';
import { checkId } from './state-root.ts';
import { table } from './table.ts';

const flags: readonly Flag[] = [
  { name: 'bundle', aliases: ['b'], kind: 'text', help: '' },
  { name: 'detach', aliases: ['d'], kind: 'switch', help: '' },
  { name: 'env', aliases: ['e'], kind: 'list', help: '' },
  { name: 'preserve-fds', kind: 'number', help: '' },
];

t.test('flags are read in every form that callers write', (t) => {
  for (const words of [
    ['--bundle', '/b', 'id'],
    ['--bundle=/b', 'id'],
    ['-b', '/b', 'id'],
    ['-bundle=/b', 'id'],
    ['id', '-b', '/b'],
  ]) {
    const { given, rest } = parseFlags(words, flags);
    t.same([given.text('bundle'), rest], ['/b', ['id']], words.join(' '));
  }
  const { given, rest } = parseFlags(['-d', '-e', 'A=1', '--env=B=2=3', '--preserve-fds', '2', '--', '-x'], flags);
  t.same(
    [given.on('detach'), given.list('env'), given.number('preserve-fds'), rest],
    [true, ['A=1', 'B=2=3'], 2, ['-x']],
  );
  t.equal(parseFlags(['--detach=false'], flags).given.on('detach'), false);
  t.equal(parseFlags(['-'], flags).rest[0], '-', 'a lone dash is a word');
  t.end();
});

t.test('flags of a program that follows are left alone', (t) => {
  const { given, rest } = parseFlags(['-d', 'id', 'ls', '-d', '--bundle'], flags, 'flags first');
  t.same([given.on('detach'), rest], [true, ['id', 'ls', '-d', '--bundle']]);
  t.end();
});

t.test('what is no flag is refused by name', (t) => {
  t.throws(() => parseFlags(['--nope'], flags), { message: 'flag provided but not defined: -nope' });
  t.throws(() => parseFlags(['--bundle'], flags), { message: 'flag needs an argument: -bundle' });
  t.throws(() => parseFlags(['--detach=maybe'], flags), { message: /invalid boolean value "maybe"/ });
  t.throws(() => parseFlags(['--preserve-fds', '1x'], flags).given.number('preserve-fds'), { message: /"1x"/ });
  t.end();
});

t.test('a user is decimal ids and nothing else', (t) => {
  t.same(parseUser('1'), { uid: 1 });
  t.same(parseUser('1000:2000'), { uid: 1000, gid: 2000 });
  t.same(parseUser('0:0'), { uid: 0, gid: 0 });
  for (const unsafe of [
    '',
    '01',
    '1:',
    ':1',
    '+1',
    '-1',
    '4294967296',
    '4294967295',
    '1x',
    '0x1',
    ' 1',
    '1 ',
    '1:2:3',
    'root',
    '1e3',
  ]) {
    t.throws(() => parseUser(unsafe), { code: 'invalid argument' }, JSON.stringify(unsafe));
  }
  t.end();
});

t.test('sizes and signals', (t) => {
  t.same(
    ['10', '1k', '2M', '1.5g', '1KiB', '1kb', '-1', '0', '7b'].map((text) => parseSize(text, 'memory')),
    [10, 1024, 2 * 1024 ** 2, 1.5 * 1024 ** 3, 1024, 1024, -1, 0, 7],
  );
  for (const text of ['', 'k', '1x', '-2', '1 0', '1kk', '9999999999t'])
    t.throws(() => parseSize(text, 'memory'), text);
  t.same(['9', 'KILL', 'SIGKILL', 'kill', 'sigterm', '0'].map(parseSignal), [9, 9, 9, 9, 15, 0]);
  for (const text of ['', 'NO', '65', '-1', '9x'])
    t.throws(() => parseSignal(text), { message: /unknown signal/ }, text);
  t.end();
});

t.test('ids cannot lead out of the state root', (t) => {
  for (const id of ['a', 'A.b_c+d-9', '...']) t.equal(checkId(id), id);
  for (const id of ['', '.', '..', 'a/b', '../x', 'a b', 'ä', 'a\0', 'x'.repeat(1025)]) t.throws(() => checkId(id), id);
  t.end();
});

t.test('what is printed', (t) => {
  t.equal(
    table([
      ['ID', 'PID', 'END'],
      ['a-long-name-of-it', '1', 'x'],
    ]),
    'ID                  PID         END\na-long-name-of-it   1           x\n',
  );
  t.equal(
    bigJson({ a: 2n ** 63n, b: [1, 'x', null, true], c: undefined }),
    '{"a":9223372036854775808,"b":[1,"x",null,true]}',
  );
  t.same(expandList('0-2,5'), [0, 1, 2, 5]);
  t.end();
});

t.test('an update changes what it names and nothing else', (t) => {
  const before = { memory: { limit: 1, swap: 2 }, pids: { limit: 3 }, devices: [{ allow: false }] };
  t.same(mergeResources(before, { memory: { limit: 9, swap: 0 }, cpu: { shares: 7 }, devices: [] }), {
    memory: { limit: 9, swap: 2 },
    pids: { limit: 3 },
    cpu: { shares: 7 },
    devices: [{ allow: false }],
  });
  t.end();
});
