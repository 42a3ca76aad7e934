import t from 'tap';
import { updatedLabels } from './labels.ts';

const old = { a: '1', 'b.c/d': '2' };

t.test('without paths the labels are replaced', (t) => {
  t.same(updatedLabels(old, { x: 'y', z: '' }, []), { x: 'y' });
  t.same(updatedLabels(old, { x: 'y' }, ['labels']), { x: 'y' });
  t.end();
});

t.test('a path names one label, dots included; an empty or absent value removes it', (t) => {
  t.same(updatedLabels(old, { 'b.c/d': '3', ignored: 'x' }, ['labels.b.c/d']), { a: '1', 'b.c/d': '3' });
  t.same(updatedLabels(old, {}, ['labels.a']), { 'b.c/d': '2' });
  const own = updatedLabels({}, JSON.parse('{"__proto__":"x"}'), ['labels.__proto__']);
  t.same(Object.entries(own), [['__proto__', 'x']], 'a label may be called anything');
  t.end();
});

t.test('other paths are invalid arguments', (t) => {
  for (const path of ['size', 'labels.', '', 'label']) {
    t.throws(() => updatedLabels(old, {}, [path]), { code: 'invalid argument' }, path);
  }
  t.throws(() => updatedLabels(old, {}, ['labels', 'digest']), { code: 'invalid argument' });
  t.end();
});
