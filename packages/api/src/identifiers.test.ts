import t from 'tap';
import { checkIdentifier, checkLabels, isIdentifier, isReservedLabel } from './index.ts';

t.test('identifiers are 1 to 76 letters and digits with single separators', (t) => {
  for (const id of ['a', 'k8s.io', 'web-1', 'a_b.c-d', '0', 'x'.repeat(76)]) {
    checkIdentifier('container', id);
    t.ok(isIdentifier(id), id);
  }
  for (const id of ['', '-a', 'a-', 'a--b', 'a/b', 'a b', 'ü', '..', 'a\n', 'x'.repeat(77)]) {
    t.throws(() => checkIdentifier('container', id), { code: 'invalid argument' }, JSON.stringify(id));
    t.notOk(isIdentifier(id));
  }
  t.end();
});

t.test('the error names what is wrong, and not more of it than fits a line', (t) => {
  t.throws(() => checkIdentifier('namespace', 'a/b'), { message: /^namespace: identifier "a\/b" must match/ });
  const long = 'y'.repeat(100_000);
  t.throws(() => checkIdentifier('container', long), {
    message: /^container: identifier "y{128}…" greater than maximum length/,
  });
  t.end();
});

t.test('a label has at most 4096 bytes, key and value together', (t) => {
  checkLabels({ k: 'v'.repeat(4095), empty: '' });
  t.throws(() => checkLabels({ k: 'v'.repeat(4096) }), { code: 'invalid argument', message: /4097 bytes/ });
  t.throws(() => checkLabels({ k: 'ü'.repeat(2048) }), { code: 'invalid argument' }, 'bytes, not characters');
  t.throws(() => checkLabels({ ['k'.repeat(5000)]: '' }), { message: /key: k{64}$/ });
  t.end();
});

t.test('reserved labels are told by their prefix', (t) => {
  t.ok(isReservedLabel('containerd.io/gc.root'));
  t.ok(isReservedLabel('io.cri-containerd.kind'));
  t.ok(isReservedLabel('io.gantry/transfer'));
  t.notOk(isReservedLabel('org.example/containerd.io/'));
  t.end();
});
