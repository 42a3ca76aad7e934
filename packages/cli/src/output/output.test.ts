import t from 'tap';
import { notFound, invalidArgument } from '@gantry/errors';
import { startFailureStatus } from '../exit-codes.ts';
import { jsonLine } from './json.ts';
import { sentence } from './sentence.ts';
import { formatTable } from './table.ts';
import { ago, binarySize, decimalSize, duration } from './units.ts';

t.test('tables are aligned, and lines do not end in blanks', (t) => {
  const columns = [
    { header: 'ID', value: (row: { id: string }) => row.id },
    { header: 'LONGER', value: () => 'x' },
    { header: 'LAST', value: () => '' },
  ];
  t.equal(formatTable(columns, [{ id: 'a' }, { id: 'abcd' }]), 'ID     LONGER   LAST\na      x\nabcd   x\n');
  t.equal(formatTable(columns, []), 'ID   LONGER   LAST\n');
  t.end();
});

t.test('what an image says cannot steer the terminal', (t) => {
  const columns = [{ header: 'X', value: (row: string) => row }];
  t.equal(formatTable(columns, ['\u001b[2Jboo\n']), 'X\n\\x1b[2Jboo\\x0a\n');
  t.end();
});

t.test('sizes and times read as people say them', (t) => {
  t.same([0, 999, 1500, 1_053_000].map(decimalSize), ['0B', '999B', '1.5kB', '1.053MB']);
  t.same([1024, 67_108_864].map(binarySize), ['1KiB', '64MiB']);
  t.same([10, 1000, 119_000, 7_200_000].map(duration), ['less than a second', '1 second', '1 minute', '2 hours']);
  t.equal(ago(new Date(0), 86_400_000), '1 day ago');
  t.equal(ago(undefined), '');
  t.end();
});

t.test('JSON holds 64-bit numbers and bytes', (t) => {
  t.equal(jsonLine({ a: 1n, b: 2n ** 60n, c: new Uint8Array([1, 2]) }), `{"a":1,"b":"${2n ** 60n}","c":"AQI="}\n`);
  t.end();
});

t.test('an error is a sentence: subjects get their class, sentences stay', (t) => {
  t.equal(sentence(notFound('container "x"')), 'container "x": not found');
  t.equal(sentence(invalidArgument('unknown flag --x')), 'unknown flag --x');
  t.end();
});

t.test('what cannot be executed has the exit status of a shell', (t) => {
  const status = (text: string): number => startFailureStatus(new Error(text));
  t.equal(status('runc create failed: exec: "foo": executable file not found in $PATH'), 127);
  t.equal(status('exec: "/foo": stat /foo: no such file or directory'), 127);
  t.equal(status('exec: "/etc": permission denied'), 126);
  t.equal(status('error mounting "/nosuch": no such file or directory'), 125);
  t.end();
});
