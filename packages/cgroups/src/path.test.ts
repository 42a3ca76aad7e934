import t from 'tap';
import { codeOf } from '@gantry/errors';
import { pathComponents } from './path.ts';

t.test('a path is its components, empty ones and dots left out', (t) => {
  t.strictSame(pathComponents('/a/b'), ['a', 'b']);
  t.strictSame(pathComponents('//a/./b//'), ['a', 'b']);
  t.strictSame(pathComponents('system.slice:x:y'), ['system.slice:x:y']);
  t.strictSame(pathComponents('/...'), ['...']);
  t.end();
});

t.test('what leads elsewhere or cannot be a directory is refused', (t) => {
  const hostile = [
    '',
    '/',
    '.',
    '//',
    '..',
    '/..',
    '/a/../b',
    '/a/..',
    '/a\0b',
    '/a\nb',
    '/a\x7f',
    `/${'x'.repeat(256)}`,
  ];
  for (const path of hostile) {
    try {
      pathComponents(path);
      t.ok(false, `accepted ${JSON.stringify(path)}`);
    } catch (err) {
      t.equal(codeOf(err), 'invalid argument', JSON.stringify(path));
    }
  }
  t.end();
});
