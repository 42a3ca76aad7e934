/** The rules of the house that a compiler does not check: which room may import what, and the lints that are scars. */
import t from 'tap';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { checkout } from '../harness/scratch.ts';

/** Room → the rooms it may import, from docs/architecture.md. Arrows go down only. */
const walls: Readonly<Record<string, readonly string[]>> = {
  'packages/errors': [],
  'packages/libc': [],
  'packages/credentials': ['errors'],
  'packages/oci': ['errors'],
  'packages/api': ['errors'],
  'packages/ttrpc': ['errors', 'api'],
  'packages/cgroups': ['errors', 'libc', 'oci'],
  'packages/store': ['errors'],
  'packages/archive': ['errors', 'oci'],
  'packages/content': ['errors', 'store', 'oci'],
  'packages/snapshots': ['errors', 'store', 'libc', 'oci'],
  'packages/diff': ['errors', 'libc', 'archive', 'oci'],
  'packages/images': ['errors', 'credentials', 'oci', 'store', 'content', 'snapshots', 'diff'],
  runtime: ['errors', 'libc', 'oci', 'cgroups'],
  shim: ['errors', 'libc', 'oci', 'api', 'ttrpc', 'cgroups', 'runtime'],
  'packages/supervisor': [
    'errors',
    'libc',
    'oci',
    'api',
    'ttrpc',
    'store',
    'content',
    'snapshots',
    'diff',
    'archive',
    'images',
    'credentials',
  ],
  'packages/client': ['errors', 'libc', 'oci', 'api', 'archive'],
  'packages/cli': ['errors', 'credentials', 'libc', 'oci', 'api', 'client'],
  bench: ['libc', 'oci', 'api', 'client', 'test'],
};

/** Third-party package → the rooms that may import it. Tests beside the sources may also use tap and oracles. */
const owners: Readonly<Record<string, readonly string[]>> = {
  koffi: ['packages/libc'],
  lmdb: ['packages/store'],
  protobufjs: ['packages/api'],
  '@grpc/grpc-js': ['packages/supervisor', 'packages/client'],
  pino: ['packages/supervisor'],
  'smol-toml': ['packages/supervisor', 'packages/images'],
  undici: ['packages/images'],
};

interface Source {
  readonly room: string;
  readonly file: string;
  readonly text: string;
}

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) return entry.name === 'gen' ? [] : filesBelow(full);
    return entry.name.endsWith('.ts') ? [full] : [];
  });
}

const rooms = Object.keys(walls);
const sources: Source[] = rooms.flatMap((room) =>
  filesBelow(path.join(checkout, room, 'src')).map((file) => ({
    room,
    file: path.relative(checkout, file),
    text: readFileSync(file, 'utf8'),
  })),
);
const product = sources.filter(({ file }) => !file.endsWith('.test.ts') && !file.includes('/testing/'));

function imports(text: string): string[] {
  const found = text.matchAll(/^(?:import|export)\b[^;]*?from\s+'([^']+)'|\bimport\('([^']+)'\)|^import '([^']+)'/gm);
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

function packageOf(specifier: string): string {
  return specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : (specifier.split('/')[0] ?? '');
}

t.test('every room imports only the floors below it', (t) => {
  const crossed = product.flatMap(({ room, file, text }) =>
    imports(text)
      .filter((name) => name.startsWith('@gantry/'))
      .map((name) => packageOf(name).slice('@gantry/'.length))
      .filter((name) => name !== path.basename(room) && !walls[room]?.includes(name))
      .map((name) => `${file} imports @gantry/${name}`),
  );
  t.same(crossed, []);
  t.end();
});

t.test('every third-party package has its owners', (t) => {
  const crossed = product.flatMap(({ room, file, text }) =>
    imports(text)
      .filter((name) => !name.startsWith('.') && !name.startsWith('node:') && !name.startsWith('@gantry/'))
      .filter((name) => !owners[packageOf(name)]?.includes(room))
      .map((name) => `${file} imports ${name}`),
  );
  t.same(crossed, []);
  t.end();
});

t.test('the shim and the runtime stay small: nothing heavy is within their reach', (t) => {
  const reach = (room: string, seen = new Set<string>()): Set<string> => {
    for (const name of walls[room] ?? []) {
      const below = `packages/${name}`;
      const key = below in walls ? below : name;
      if (!seen.has(key)) reach(key, seen.add(key));
    }
    return seen;
  };
  for (const heavy of ['lmdb', '@grpc/grpc-js', 'pino', 'smol-toml', 'undici'])
    for (const owner of owners[heavy] ?? [])
      t.notOk(reach('shim').has(owner), `shim does not reach ${owner} (${heavy})`);
  t.end();
});

t.test('scars: calls that have hurt before are not made', (t) => {
  const bans: readonly (readonly [RegExp, string])[] = [
    [/\bshell: true\b/, 'no shell strings: arguments are arrays'],
    [/\bexecSync\(|\bexec\(['"`]/, 'no shell strings: arguments are arrays'],
    [/listen\(['"`]\\0|path: ['"`]\\0/, 'no abstract sockets (CVE-2020-15257)'],
    [/\benum \w+ \{/, 'no enums'],
    [/^export default /m, 'no default exports'],
    [/Math\.random\(/, 'nothing that must be unique comes from Math.random: forked shims share its stream'],
  ];
  const found = product.flatMap(({ file, text }) =>
    bans.filter(([pattern]) => pattern.test(text)).map(([, why]) => `${file}: ${why}`),
  );
  t.same(found, []);
  t.end();
});

t.test('files stay readable: none above 500 lines', (t) => {
  const long = sources.filter(({ text }) => text.split('\n').length > 500).map(({ file }) => file);
  t.same(long, []);
  t.end();
});

t.test('every room says what lives there', (t) => {
  for (const room of [...rooms, 'proto', 'test']) {
    const readme = path.join(checkout, room, 'README.md');
    t.ok(existsSync(readme) && readFileSync(readme, 'utf8').split('\n').length >= 5, `${room}/README.md`);
  }
  t.end();
});
