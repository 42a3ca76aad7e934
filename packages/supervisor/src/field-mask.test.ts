import t from 'tap';
import { maskedEntries, parseMask } from './field-mask.ts';

const rules = { fields: ['labels', 'spec'], maps: ['labels'], subject: 'on "c1"' } as const;

t.test('a path names a member or one entry of a map; everything behind the first dot is the key', (t) => {
  t.same(parseMask(['labels', 'spec', 'labels.containerd.io/gc.root'], rules), [
    { field: 'labels', key: undefined },
    { field: 'spec', key: undefined },
    { field: 'labels', key: 'containerd.io/gc.root' },
  ]);
  t.end();
});

t.test('a path that nothing answers to is an invalid argument', (t) => {
  for (const path of ['foo', 'spec.x', 'labels.', '', 'Labels']) {
    t.throws(
      () => parseMask([path], rules),
      { code: 'invalid argument', message: `cannot update ${JSON.stringify(path)} field on "c1"` },
      path,
    );
  }
  t.throws(() => parseMask(['x'], { ...rules, subject: '' }), { message: 'cannot update "x" field' });
  t.end();
});

t.test('an entry is replaced, added, or removed when the change does not have it', (t) => {
  t.same(maskedEntries({ a: '1', b: '2' }, { b: '3', c: '4' }, 'b'), { a: '1', b: '3' });
  t.same(maskedEntries({ a: '1' }, { c: '4' }, 'c'), { a: '1', c: '4' });
  t.same(maskedEntries({ a: '1', b: '2' }, {}, 'a'), { b: '2' });
  t.same(maskedEntries({ a: '1' }, { b: '2' }, undefined), { b: '2' });
  t.same(maskedEntries({}, { x: '1' }, 'constructor'), {});
  t.end();
});
