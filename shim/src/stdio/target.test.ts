import t from 'tap';
import { parseStdio, parseTarget } from './target.ts';

t.test('the forms of a stdio string', async (t) => {
  t.same(parseTarget('stdout', ''), { kind: 'null' });
  t.same(parseTarget('stdout', '/run/f/c1-stdout'), { kind: 'existing', path: '/run/f/c1-stdout' });
  t.same(parseTarget('stdout', 'fifo:///run/f/x'), { kind: 'existing', path: '/run/f/x' });
  t.same(parseTarget('stdout', 'file:///var/log/a%20b.log?max=1'), { kind: 'log', path: '/var/log/a b.log' });
  t.same(parseTarget('stdout', '/odd/a?b#c'), { kind: 'existing', path: '/odd/a?b#c' });
});

t.test('what cannot be is refused, naming stream and string', async (t) => {
  t.throws(() => parseTarget('stdout', 'binary-v2:///bin/x'), { code: 'not implemented', message: /binary-v2/ });
  t.throws(() => parseStdio({ terminal: false, stdin: '', stdout: '/f', stderr: 'binary:///bin/x' }), {
    code: 'invalid argument',
    message: /stderr "binary:\/\/\/bin\/x"/,
  });
  t.throws(() => parseTarget('stdout', 'http://x/'), { code: 'invalid argument', message: /unknown scheme http/ });
  t.throws(() => parseTarget('stdout', 'relative/path'), { code: 'invalid argument', message: /not an absolute path/ });
  t.throws(() => parseTarget('stdout', 'file://relative'), { code: 'invalid argument' });
  t.throws(() => parseTarget('stdout', 'file:///%zz'), { code: 'invalid argument', message: /bad percent escape/ });
  t.throws(() => parseTarget('stdout', '/a\0b'), { code: 'invalid argument' });
});

t.test('a log file given as stdout takes an empty stderr too', async (t) => {
  const log = { kind: 'log', path: '/l' };
  t.same(parseStdio({ terminal: false, stdin: '', stdout: 'file:///l', stderr: '' }), {
    stdin: { kind: 'null' },
    stdout: log,
    stderr: log,
  });
  t.same(parseStdio({ terminal: false, stdin: '', stdout: '/f', stderr: '' }).stderr, { kind: 'null' });
});

t.test('a logging program has the words of its query as arguments, and takes stderr too', async (t) => {
  const stdout = 'binary:///bin/logger?id=7&flag=&text=a+b%20c';
  t.same(parseStdio({ terminal: false, stdin: '', stdout, stderr: stdout }), {
    stdin: { kind: 'null' },
    stdout: { kind: 'program', path: '/bin/logger', args: ['id', '7', 'flag', '', 'text', 'a b c'] },
    stderr: { kind: 'null' },
  });
});

t.test('with a terminal there is no stderr', async (t) => {
  const uri = 'file:///l';
  t.same(parseStdio({ terminal: true, stdin: '/i', stdout: uri, stderr: uri }).stderr, { kind: 'null' });
});

t.test('stdin is never a log file', async (t) => {
  t.throws(() => parseStdio({ terminal: false, stdin: 'file:///x', stdout: '', stderr: '' }), {
    code: 'invalid argument',
    message: /stdin "file:\/\/\/x"/,
  });
});
