import t from 'tap';
import { parseBytes, parseCpus, parseEnv, parseMount, parseSeconds, parseSignal, parseVolume } from './values.ts';

t.test('sizes are powers of 1024', (t) => {
  t.equal(parseBytes('512m', '-m'), 512 * 2 ** 20);
  t.equal(parseBytes('1.5G', '-m'), 1.5 * 2 ** 30);
  t.equal(parseBytes('64MiB', '-m'), 64 * 2 ** 20);
  t.equal(parseBytes('4096', '-m'), 4096);
  for (const bad of ['', '-1', '0', '12x', 'm', '1e9', '99999999999g']) {
    t.throws(() => parseBytes(bad, '-m'), { code: 'invalid argument' }, bad);
  }
  t.end();
});

t.test('processors and seconds are numbers', (t) => {
  t.equal(parseCpus('1.5'), 1.5);
  t.equal(parseSeconds('0.5', '-t'), 500);
  for (const bad of ['0', 'x', '-1', '']) t.throws(() => parseCpus(bad), bad);
  for (const bad of ['x', '-1', '']) t.throws(() => parseSeconds(bad, '-t'), bad);
  t.end();
});

t.test('signals have names, short names and numbers', (t) => {
  t.same(['KILL', 'sigkill', '9', 'term'].map(parseSignal), [9, 9, 9, 15]);
  t.throws(() => parseSignal('KIL'), { message: 'unknown signal "KIL"; did you mean SIGKILL?' });
  for (const bad of ['0', '65', '']) t.throws(() => parseSignal(bad), bad);
  t.end();
});

t.test('a variable without a value is the own one, or removed', (t) => {
  t.equal(parseEnv('A=b=c', {}), 'A=b=c');
  t.equal(parseEnv('A', { A: 'own' }), 'A=own');
  t.equal(parseEnv('A', {}), 'A');
  t.throws(() => parseEnv('=b', {}));
  t.end();
});

t.test('volumes are bind mounts of absolute paths', (t) => {
  const plain = { type: 'bind', source: '/a', destination: '/b', options: ['rbind', 'rprivate'] };
  t.same(parseVolume('/a:/b'), plain);
  t.same(parseVolume('/a:/b:ro'), { ...plain, options: ['rbind', 'rprivate', 'ro'] });
  for (const bad of ['/a', 'name:/b', '/a:b', '/a:/b:ro:x', ':/b']) t.throws(() => parseVolume(bad), bad);
  t.end();
});

t.test('mounts are key=value lists as ctr and docker write them', (t) => {
  t.same(parseMount('type=bind,src=/a,dst=/b,options=bind:ro:shared'), {
    type: 'bind',
    source: '/a',
    destination: '/b',
    options: ['bind', 'ro', 'shared'],
  });
  t.same(parseMount('source=/a,target=/b,readonly').options, ['rbind', 'rprivate', 'ro']);
  t.match(parseMount('type=tmpfs,dst=/t,options=size=1m'), { type: 'tmpfs', source: 'tmpfs', destination: '/t' });
  t.throws(() => parseMount('typ=bind'), { message: 'flag --mount: unknown key "typ"; did you mean type?' });
  t.throws(() => parseMount('type=volume,src=/a,dst=/b'), { message: /"volume" is not bind or tmpfs/ });
  t.end();
});
