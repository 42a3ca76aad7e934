import t from 'tap';
import { codeOf } from '@gantry/errors';
import {
  familiarReference,
  formatReference,
  normalizeReference,
  parseFamiliarReference,
  parseReference,
} from './reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

t.test('what people type becomes a full reference', (t) => {
  const table: [string, string][] = [
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['library/busybox', 'docker.io/library/busybox:latest'],
    ['someone/tool', 'docker.io/someone/tool:latest'],
    ['index.docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['ghcr.io/a/b:c', 'ghcr.io/a/b:c'],
    ['localhost/a', 'localhost/a:latest'],
    ['localhost:5000/a', 'localhost:5000/a:latest'],
    ['[::1]:5000/a/b:t', '[::1]:5000/a/b:t'],
    ['Registry/a', 'Registry/a:latest'],
    [`busybox@${digest}`, `docker.io/library/busybox@${digest}`],
    [`busybox:tag@${digest}`, `docker.io/library/busybox@${digest}`],
    ['a/b/c/d__e--f.g_h', 'docker.io/a/b/c/d__e--f.g_h:latest'],
  ];
  for (const [given, full] of table) {
    t.equal(normalizeReference(given), full, given);
    t.equal(normalizeReference(full), full, 'normal already');
  }
  t.end();
});

t.test('a full reference keeps its tag and its digest', (t) => {
  const text = `example.com:8080/a/b:tag@${digest}`;
  t.strictSame(parseReference(text), { domain: 'example.com:8080', path: 'a/b', tag: 'tag', digest });
  t.equal(formatReference(parseReference(text)), text);
  t.end();
});

t.test('people read the short form', (t) => {
  for (const [full, short] of [
    ['docker.io/library/busybox:latest', 'busybox:latest'],
    ['docker.io/someone/tool:1', 'someone/tool:1'],
    ['ghcr.io/a/b:c', 'ghcr.io/a/b:c'],
    ['docker.io/library/a/b:c', 'library/a/b:c'],
  ] as const) {
    t.equal(familiarReference(parseReference(full)), short);
    t.equal(normalizeReference(short), full);
  }
  t.end();
});

t.test('what is no reference is an invalid argument', (t) => {
  const hostile = [
    '',
    ':tag',
    '/a',
    'a/',
    'a//b',
    'A',
    'a/B',
    'a:',
    'a:b:c',
    `a:${'t'.repeat(129)}`,
    'a:-t',
    'a@sha256:abc',
    'a@',
    `a@${digest}@${digest}`,
    '-a',
    'a-',
    'a..b',
    'a___b',
    'a b',
    'a\n',
    'a\0',
    'é',
    '../../etc/passwd',
    'example.com/../x',
    'https://example.com/a',
    '0123456789abcdef'.repeat(4),
    `example.com/${'a'.repeat(256)}`,
    'a'.repeat(10_000),
    `${'a-'.repeat(200)}`,
    '-bad.com/a',
    'exa_mple.com/a',
    'example.com:port/a',
    '[::1/a',
  ];
  for (const text of hostile) {
    try {
      parseFamiliarReference(text);
      t.ok(false, `accepted ${JSON.stringify(text)}`);
    } catch (err) {
      t.equal(codeOf(err), 'invalid argument', JSON.stringify(text.slice(0, 40)));
    }
  }
  t.throws(() => parseReference('busybox'), { message: 'invalid reference "busybox": a domain is required' });
  t.end();
});
