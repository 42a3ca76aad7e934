import t from 'tap';
import { codeOf, messageOf } from '@gantry/errors';
import { compileFilters } from './compile.ts';
import type { Adaptor } from './compile.ts';

const object: Readonly<Record<string, string>> = {
  id: 'c1',
  image: 'docker.io/library/busybox:latest',
  'runtime.name': 'io.containerd.runc.v2',
  'labels.a.b': 'x,y',
  'labels.containerd.io/gc.root': '1',
};
const adaptor: Adaptor = (path) => object[path.join('.')];

/** `undefined` for a filter that is refused. */
const verdicts: readonly (readonly [filter: string, verdict: boolean | undefined])[] = [
  ['', true],
  ['id', true],
  ['absent', false],
  ['id==c1', true],
  ['id == c1', true],
  ['id==c2', false],
  ['"id"==c1', true],
  ['id==c1,image', true],
  ['id==c1,absent', false],
  ['id!=c1', false],
  ['id!=c2', true],
  ['absent==x', false],
  ['absent!=x', true],
  ['absent~=|^$|', true],
  ['absent~=x', false],
  ['image==docker.io/library/busybox:latest', true],
  ['image~=busybox', true],
  ['image~=/busybox:(latest|1)$/', true],
  ['image~=|^docker.io/library/|', true],
  ['image~="^docker\\\\.io"', true],
  ['image~="^docker\\\\.xx"', false],
  ['image~=(', false],
  ['labels.a.b=="x,y"', true],
  ['labels.a.b=="\\x78,\\u0079"', true],
  ['labels.a.b=="\\170,y"', true],
  ['labels."containerd.io/gc.root"', true],
  ['labels."containerd.io/gc.root"==1', true],
  ['id==é', false],
  ['id=c1', undefined],
  ['id===c1', undefined],
  ['id!c1', undefined],
  ['id==', undefined],
  ['id==,x', undefined],
  ['id==.x', undefined],
  [' ', undefined],
  [',', undefined],
  ['id,', undefined],
  ['id.', undefined],
  ['.id', undefined],
  ['id==c1 x', undefined],
  ['a b', undefined],
  ['id==/c1/', undefined],
  ['labels.|x|', undefined],
  ['labels."x', undefined],
  ['id=="a\nb"', undefined],
  ['id=="\\q"', undefined],
  ['id=="\\ud800"', undefined],
  ['id=="\\400"', undefined],
  ['id\0', undefined],
  ['labels-x', undefined],
];

t.test('filters decide as containerd decides', (t) => {
  for (const [filter, verdict] of verdicts) {
    if (verdict === undefined) t.throws(() => compileFilters([filter]), { code: 'invalid argument' }, filter);
    else t.equal(compileFilters([filter])(adaptor), verdict, filter === '' ? 'the empty filter' : filter);
  }
  t.end();
});

t.test('one of several filters is enough, and none lets everything through', (t) => {
  t.equal(compileFilters([])(adaptor), true);
  t.equal(compileFilters(['id==c2', 'id==c1'])(adaptor), true);
  t.equal(compileFilters(['id==c2', 'id==c3'])(adaptor), false);
  t.equal(compileFilters(['id==c2', ''])(adaptor), true);
  t.end();
});

t.test('a parse error shows where it is', (t) => {
  const errors: Readonly<Record<string, string>> = {
    'id=c1': 'filters: parse error: [id >|=|< c1]: unsupported operator "="',
    'id==': 'filters: parse error: [id==]: expected value or quoted',
    'labels."x': 'filters: parse error: [labels. >|"|< x]: quoted literal not terminated',
    'labels-x': 'filters: parse error: [labels >|-|< x]: expected an operator ("=="|"!="|"~=")',
    'id,': 'filters: parse error: [id,]: expected field or quoted',
  };
  for (const [filter, message] of Object.entries(errors)) {
    try {
      compileFilters([filter]);
      t.ok(false, `${filter} was accepted`);
    } catch (err) {
      t.equal(codeOf(err), 'invalid argument');
      t.equal(messageOf(err), message);
    }
  }
  t.end();
});
