import t from 'tap';
import { compileExpression } from './regular-expression.ts';

const table: readonly (readonly [source: string, text: string, matches: boolean])[] = [
  ['', 'x', true],
  ['b', 'abc', true],
  ['^b', 'abc', false],
  ['^/tasks/', '/tasks/exit', true],
  ['c$', 'abc', true],
  ['b$', 'abc', false],
  ['a.c', 'abc', true],
  ['a.c', 'a\nc', false],
  ['(?s)a.c', 'a\nc', true],
  ['(?i)ABC', 'xabc', true],
  ['(?i:A)BC', 'aBC', true],
  ['(?i:A)BC', 'abc', false],
  ['(?m)^b$', 'a\nb\nc', true],
  ['^b$', 'a\nb\nc', false],
  ['\\Aa\\z', 'a', true],
  ['x|y|z', 'y', true],
  ['^(x|y)$', 'xy', false],
  ['^(?P<name>x)+$', 'xxx', true],
  ['^(?:ab)*$', 'ababa', false],
  ['^a{3}$', 'aaa', true],
  ['^a{3}$', 'aa', false],
  ['^a{2,}$', 'aaaa', true],
  ['^a{1,2}$', 'aaa', false],
  ['^sha256:[0-9a-f]{64}$', `sha256:${'0f'.repeat(32)}`, true],
  ['a{,2}', 'a{,2}', true],
  ['^a??b+?$', 'bb', true],
  ['^[^/]+$', 'a/b', false],
  ['^[]a]+$', ']a', true],
  ['^[a\\-z]+$', 'b', false],
  ['^[a-]+$', '-a', true],
  ['^[[:alpha:]_]+$', 'aB_', true],
  ['^[[:^digit:]]+$', 'a1', false],
  ['^\\d+\\.\\d+$', '10.2', true],
  ['\\bfoo\\b', 'a foo b', true],
  ['\\bfoo\\b', 'afoob', false],
  ['^\\w+\\s\\S$', 'ab c', true],
  ['^\\p{Greek}\\pL$', 'αb', true],
  ['^\\x41\\x{1F600}$', 'A😀', true],
  ['^.$', '😀', true],
  ['^\\Qa.b\\E$', 'a.b', true],
  ['^\\Qa.b\\E$', 'axb', false],
  ['(a*)*b', 'aaab', true],
];

t.test('expressions match as those of RE2 do', (t) => {
  for (const [source, text, matches] of table) {
    t.equal(compileExpression(source)?.(text), matches, `${JSON.stringify(source)} on ${JSON.stringify(text)}`);
  }
  t.end();
});

t.test('what RE2 refuses is refused', (t) => {
  for (const source of [
    '(',
    ')',
    '[a',
    'a**',
    '*',
    '(a)\\1',
    '(?=a)',
    '(?<!a)',
    '[z-a]',
    '\\',
    '\\y',
    'a{2,1}',
    'a{1001}',
    '[[:x:]]',
    '\\p{Nope}',
  ]) {
    t.equal(compileExpression(source), undefined, source);
  }
  t.end();
});

t.test('an expression built to make matching explode takes no time', (t) => {
  const started = performance.now();
  t.equal(compileExpression('^(a+)+$')?.(`${'a'.repeat(4000)}b`), false);
  t.equal(compileExpression('^(a|aa)+$')?.(`${'a'.repeat(4000)}b`), false);
  t.equal(compileExpression('((a{1000}){1000}){1000}'), undefined, 'too large');
  t.equal(compileExpression('(((){1000}){1000}){1000}')?.('x'), true);
  t.equal(compileExpression('('.repeat(100_000)), undefined, 'nested too deep');
  t.ok(performance.now() - started < 2000);
  t.end();
});
