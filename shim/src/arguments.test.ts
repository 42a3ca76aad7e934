import t from 'tap';
import { parseArguments } from './arguments.ts';

t.test('the flags of a containerd supervisor are understood in all of the ways Go writes them', async (t) => {
  const forms = [
    ['-namespace', 'moby', '-id', 'c1', '-address', '/run/c.sock', '-bundle', '/b', 'start'],
    ['-namespace=moby', '-id=c1', '-address=/run/c.sock', '-bundle=/b', 'start'],
    ['--namespace', 'moby', '--id=c1', '--address', '/run/c.sock', '--bundle=/b', 'start'],
  ];
  for (const form of forms) {
    const { action, namespace, id, address, bundle } = parseArguments(form);
    t.same(
      { action, namespace, id, address, bundle },
      {
        action: 'start',
        namespace: 'moby',
        id: 'c1',
        address: '/run/c.sock',
        bundle: '/b',
      },
    );
  }
});

t.test('no action means the daemon', async (t) => {
  t.equal(parseArguments(['-id', 'c1', '-publish-binary', '/usr/bin/containerd']).action, 'daemon');
  t.equal(parseArguments(['-id', 'c1', '--']).action, 'daemon');
});

t.test('booleans take a value only behind an equals sign', async (t) => {
  t.equal(parseArguments(['-debug', 'delete']).debug, true);
  t.equal(parseArguments(['-debug=false', 'delete']).debug, false);
  t.equal(parseArguments(['-debug', 'delete']).action, 'delete');
  t.throws(() => parseArguments(['-debug=perhaps']), /invalid boolean value "perhaps" for -debug/);
});

t.test('version and info win over actions', async (t) => {
  t.equal(parseArguments(['-v']).action, 'version');
  t.equal(parseArguments(['--version']).action, 'version');
  t.equal(parseArguments(['-info']).action, 'info');
});

t.test('an empty value is a value', async (t) => {
  t.equal(parseArguments(['-id', 'x', '-address', '', 'start']).address, '');
  t.equal(parseArguments(['-address=', 'start']).address, '');
});

t.test('what is wrong is named', async (t) => {
  t.throws(() => parseArguments(['-nope']), /flag provided but not defined: -nope/);
  t.throws(() => parseArguments(['-id']), /flag needs an argument: -id/);
  t.throws(() => parseArguments(['-=x']), /bad flag syntax: -=x/);
  t.throws(() => parseArguments(['---id']), /bad flag syntax: ---id/);
  t.throws(() => parseArguments(['restart']), /unknown action "restart"/);
  t.throws(() => parseArguments(['start', 'again']), /unexpected argument "again"/);
});
