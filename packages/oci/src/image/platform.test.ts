import t from 'tap';
import type { Platform } from './documents.ts';
import {
  formatPlatform,
  hostPlatform,
  matchPlatform,
  normalizePlatform,
  parsePlatform,
  selectForPlatform,
} from './platform.ts';

t.test('platforms have one normal form', (t) => {
  const table: [string, string][] = [
    ['linux/x86_64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['Linux/AMD64/V3', 'linux/amd64/v3'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/9.0', 'linux/arm64/v9'],
    ['linux/arm64/v8.2', 'linux/arm64/v8.2'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/i386', 'linux/386'],
    ['macos/arm64', 'darwin/arm64'],
    ['windows(10.0.17763)/amd64', 'windows(10.0.17763)/amd64'],
    ['windows(10.0.17763+win32k)/amd64', 'windows(10.0.17763+win32k)/amd64'],
  ];
  for (const [given, normal] of table) t.equal(formatPlatform(parsePlatform(given)), normal, given);
  t.end();
});

t.test('one word is an operating system or an architecture', (t) => {
  t.equal(parsePlatform('arm64').architecture, 'arm64');
  t.equal(parsePlatform('arm64').os, hostPlatform().os);
  t.strictSame(parsePlatform('linux'), { ...hostPlatform(), os: 'linux' });
  for (const wrong of ['', '/', 'linux/', 'linux/amd64/v1/x', 'linux/a b', 'linux(/amd64', '..\n']) {
    t.throws(() => parsePlatform(wrong), { code: 'invalid argument' }, JSON.stringify(wrong));
  }
  t.end();
});

t.test('a host prefers its own variant and then older ones', (t) => {
  const table: [string, string[]][] = [
    ['linux/amd64/v3', ['linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64', 'linux/386']],
    ['linux/amd64', ['linux/amd64', 'linux/386']],
    [
      'linux/arm64/v8.1',
      ['linux/arm64/v8.1', 'linux/arm64', 'linux/arm/v8', 'linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5'],
    ],
    ['linux/arm64/v9.1', ['linux/arm64/v9.1', 'linux/arm64/v9', 'linux/arm64/v8.6', 'linux/arm64/v8.1', 'linux/arm64']],
    ['linux/arm/v6', ['linux/arm/v6', 'linux/arm/v5']],
    ['linux/s390x', ['linux/s390x']],
  ];
  for (const [host, images] of table) {
    const ranks = images.map((image) => matchPlatform(parsePlatform(host), parsePlatform(image)));
    t.ok(
      ranks.every((rank, i) => rank !== undefined && rank > (ranks[i - 1] ?? -1)),
      `${host}: ${ranks.join(' ')}`,
    );
  }
  for (const [host, image] of [
    ['linux/amd64', 'linux/amd64/v2'],
    ['linux/arm/v6', 'linux/arm/v7'],
    ['linux/amd64', 'linux/arm64'],
    ['linux/amd64', 'windows/amd64'],
    ['linux/amd64', 'unknown/unknown'],
    ['linux/arm64/v9.0', 'linux/arm64/v8.6'],
    ['linux/386', 'linux/amd64'],
  ] as const) {
    t.equal(matchPlatform(parsePlatform(host), parsePlatform(image)), undefined, `${image} on ${host}`);
  }
  t.end();
});

t.test('features and Windows builds must be those of the host', (t) => {
  const host: Platform = { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763.1', 'os.features': ['a'] };
  t.equal(matchPlatform(host, { ...host, 'os.version': '10.0.17763.99' }), 0);
  t.equal(matchPlatform(host, { ...host, 'os.version': '10.0.20348.1' }), undefined);
  t.equal(matchPlatform(host, { ...host, 'os.features': ['a', 'b'] }), undefined);
  t.equal(matchPlatform(host, { os: 'windows', architecture: 'amd64' }), 0);
  t.end();
});

t.test('the best entry of an index comes first and equals keep their order', (t) => {
  const entry = (name: string, text?: string) => ({
    name,
    ...(text === undefined ? {} : { platform: parsePlatform(text) }),
  });
  const entries = [
    entry('attestation', 'unknown/unknown'),
    entry('386', 'linux/386'),
    entry('first', 'linux/amd64'),
    entry('second', 'linux/amd64'),
    entry('none'),
  ];
  const chosen = selectForPlatform(parsePlatform('linux/amd64'), entries).map(({ name }) => name);
  t.strictSame(chosen, ['first', 'second', '386']);
  t.equal(normalizePlatform(hostPlatform()).os, hostPlatform().os);
  t.end();
});
