import t from 'tap';
import { bootstrap } from '@gantry/api';
import { bootstrapAt, parseBootstrap } from './bootstrap.ts';

const parse = (text: string) => parseBootstrap(Buffer.from(text));

t.test('what start prints is read in each of its forms', (t) => {
  const address = 'unix:///run/s/abc';
  t.same(parse(`${address}\n`), { version: 2, address, protocol: 'ttrpc' }, 'a bare address');
  t.same(parse('/run/s/abc'), { version: 2, address, protocol: 'ttrpc' }, 'a bare path');
  t.same(parse(JSON.stringify({ version: 3, address, protocol: 'ttrpc' })), { version: 3, address, protocol: 'ttrpc' });
  const result = bootstrap.BootstrapResult.create({ version: 3, address, protocol: 'ttrpc' });
  t.same(
    parseBootstrap(bootstrap.BootstrapResult.encode(result)),
    { version: 3, address, protocol: 'ttrpc' },
    'protobuf',
  );
  t.end();
});

t.test('what we do not speak, or nobody, is refused by name', (t) => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /printed no address/],
    ['{"version":3,', /JSON/],
    ['{"version":3}', /no version, address and protocol/],
    ['null', /not where it listens/],
    ['panic: something broke', /"panic: something broke" and not where it listens/],
    ['{"version":4,"address":"unix:///a","protocol":"ttrpc"}', /version 4 of the task API/],
    ['{"version":3,"address":"unix:///a","protocol":"grpc"}', /speaks "grpc"/],
    ['vsock://3:1024', /address "vsock:\/\/3:1024"/],
    [`unix:///${'x'.repeat(107)}`, /too long/],
    ['{"version":2,"address":"\\u0000/containerd-shim/abc.sock"}', /address "\\u0000/],
    ['unix://abstract', /address "unix:\/\/abstract"/],
  ];
  for (const [output, expected] of refused) t.throws(() => parse(output), { message: expected }, output);
  t.end();
});

t.test('where a controller elsewhere says that tasks are', (t) => {
  const found = { version: 3, address: 'unix:///run/s/abc', protocol: 'ttrpc' };
  t.same(bootstrapAt('ttrpc+unix:///run/s/abc', 3), found);
  t.same(bootstrapAt('unix:///run/s/abc', 3), found);
  t.throws(() => bootstrapAt('', 0), { code: 'unavailable' });
  t.throws(() => bootstrapAt('grpc+vsock://3:1', 3), { code: 'not implemented', message: /speaks "grpc"/ });
  t.throws(() => bootstrapAt('ttrpc+vsock://3:1', 3), { code: 'not implemented', message: /vsock/ });
  t.end();
});
