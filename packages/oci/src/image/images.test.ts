import { createHash } from 'node:crypto';
import t from 'tap';
import { GantryError } from '@gantry/errors';
import { chainIds } from './chain-id.ts';
import { digestAlgorithm, digestEncoded, digestOf, isDigest, parseDigest, verifyDigest } from './digest.ts';
import { isManifestType, layerMediaType, mediaTypes } from './media-types.ts';
import {
  checkLayerCount,
  parseDescriptor,
  parseImageConfig,
  parseImageLayout,
  parseIndex,
  parseManifest,
} from './parse-documents.ts';

const digest = digestOf('{}');
const descriptor = { mediaType: mediaTypes.config, digest, size: 2 };
const layer = { mediaType: mediaTypes.layerGzip, digest, size: 2 };
const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config: descriptor, layers: [layer, layer] };
const index = { schemaVersion: 2, manifests: [{ ...descriptor, platform: { os: 'linux', architecture: 'amd64' } }] };
const config = {
  architecture: 'amd64',
  os: 'linux',
  config: { Env: ['A=b'], ExposedPorts: { '80/tcp': {} }, Volumes: null, Labels: { a: 'b' }, Memory: 5 },
  rootfs: { type: 'layers', diff_ids: [digest, digest] },
};

function refused(run: () => unknown): string {
  try {
    run();
  } catch (err) {
    if (err instanceof GantryError && err.code === 'invalid argument') return err.message;
    throw err;
  }
  return 'accepted';
}

t.test('the digest of the empty JSON document is the known one', (t) => {
  t.equal(digest, 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  t.equal(digestAlgorithm(digest), 'sha256');
  t.equal(digestEncoded(digest).length, 64);
  t.equal(verifyDigest(digest, '{}'), true);
  t.equal(verifyDigest(digest, '{} '), false);
  t.end();
});

t.test('a digest that could be anything but a file name is refused', (t) => {
  const hex = 'a'.repeat(64);
  const hostile = [
    '',
    'sha256',
    'sha256:',
    `sha256:${hex.slice(1)}`,
    `sha256:${hex}a`,
    `sha256:${hex.toUpperCase()}`,
    `SHA256:${hex}`,
    `sha256:${'g'.repeat(64)}`,
    `sha512:${hex}`,
    'sha256:../../x',
    `sha256:${hex}/..`,
    `sha256:${hex}\n`,
    `sha256:${hex}\0`,
    `md5+:${hex}`,
    `x:${'a'.repeat(300)}`,
    `../sha256:${hex}`,
  ];
  for (const text of hostile)
    t.match(
      refused(() => parseDigest(text)),
      /^invalid digest/,
      JSON.stringify(text),
    );
  for (const text of [`sha256:${hex}`, `sha512:${hex}${hex}`, `blake3:${hex}`, 'md5+b64.x:aGk='])
    t.ok(isDigest(text), text);
  t.end();
});

t.test('chain ids fold the layers below into each', (t) => {
  const second = digestOf('two');
  const both = `sha256:${createHash('sha256').update(`${digest} ${second}`).digest('hex')}`;
  t.strictSame(chainIds([digest, second]), [digest, both]);
  t.strictSame(chainIds([]), []);
  t.end();
});

t.test('layer types say how they are packed', (t) => {
  t.strictSame(layerMediaType(mediaTypes.dockerLayerGzip), {
    compression: 'gzip',
    distributable: true,
    encrypted: false,
  });
  t.strictSame(layerMediaType(`${mediaTypes.layerZstd}+encrypted; x=y`), {
    compression: 'zstd',
    distributable: true,
    encrypted: true,
  });
  t.equal(layerMediaType(mediaTypes.dockerLayerForeign)?.distributable, false);
  t.equal(layerMediaType(mediaTypes.inToto), undefined);
  t.equal(isManifestType(mediaTypes.dockerManifest), true);
  t.end();
});

t.test('image documents are parsed as they are', (t) => {
  t.strictSame(parseManifest(JSON.stringify(manifest)), manifest);
  t.strictSame(parseIndex(JSON.stringify(index)), index);
  t.strictSame(parseDescriptor(JSON.stringify({ ...descriptor, data: 'e30=', future: 1 })), {
    ...descriptor,
    data: 'e30=',
  });
  const parsed = parseImageConfig(JSON.stringify(config));
  t.strictSame(parsed.config, { Env: ['A=b'], ExposedPorts: ['80/tcp'], Labels: { a: 'b' } });
  t.strictSame(parsed.history, []);
  checkLayerCount(parseManifest(JSON.stringify(manifest)), parsed);
  t.strictSame(parseImageLayout('{"imageLayoutVersion":"1.0.0"}'), { imageLayoutVersion: '1.0.0' });
  t.end();
});

t.test('a document that is two kinds at once is refused', (t) => {
  const json = JSON.stringify;
  t.match(
    refused(() => parseManifest(json({ ...manifest, manifests: [] }))),
    /^ambiguous document: manifest with member "manifests"/,
  );
  t.match(
    refused(() => parseManifest(json({ ...manifest, manifests: null }))),
    /^ambiguous/,
  );
  t.match(
    refused(() => parseManifest(json({ ...manifest, fsLayers: [] }))),
    /^ambiguous/,
  );
  t.match(
    refused(() => parseIndex(json({ ...index, layers: [] }))),
    /^ambiguous document: index with member "layers"/,
  );
  t.match(
    refused(() => parseIndex(json({ ...index, config: {} }))),
    /^ambiguous/,
  );
  t.match(
    refused(() => parseIndex('{"schemaVersion":2}')),
    /^manifests: is required/,
  );
  t.end();
});

t.test('the type inside, the type outside and the parser agree', (t) => {
  const json = JSON.stringify;
  t.match(
    refused(() => parseManifest(json({ ...manifest, mediaType: mediaTypes.index }))),
    /is not the type of a manifest/,
  );
  t.match(
    refused(() => parseManifest(json(manifest), mediaTypes.dockerManifest)),
    /as which it is known/,
  );
  t.match(
    refused(() => parseIndex(json(index), mediaTypes.manifest)),
    /is not the type of an index/,
  );
  const { mediaType: _, ...untyped } = manifest;
  t.match(
    refused(() => parseManifest(json(untyped), mediaTypes.dockerManifest)),
    /^mediaType: is required/,
  );
  t.equal(parseManifest(json(untyped), `${mediaTypes.manifest}; charset=utf-8`).layers.length, 2);
  t.end();
});

t.test('hostile image documents are invalid arguments', (t) => {
  const json = JSON.stringify;
  const hostile: [() => unknown, RegExp][] = [
    [() => parseDescriptor(json({ ...descriptor, size: -1 })), /^size: /],
    [() => parseDescriptor(json({ ...descriptor, size: 2 ** 60 })), /^size: /],
    [() => parseDescriptor(json({ ...descriptor, digest: 'sha256:../../x' })), /^digest: invalid digest/],
    [() => parseDescriptor(json({ ...descriptor, data: '*' })), /^data: must be base64/],
    [() => parseManifest(json({ ...manifest, schemaVersion: 1 })), /^schemaVersion: must be 2/],
    [() => parseManifest(json({ ...manifest, layers: [layer, { ...layer, digest: '' }] })), /^layers\[1\]\.digest/],
    [() => parseManifest(json({ ...manifest, config: undefined })), /^config: is required/],
    [() => parseImageConfig(json({ ...config, rootfs: { type: 'squashfs', diff_ids: [] } })), /^rootfs\.type/],
    [() => parseImageConfig(json({ ...config, rootfs: undefined })), /^rootfs: is required/],
    [() => parseImageConfig(json({ ...config, config: { Env: 'A=b' } })), /^config\.Env/],
    [() => parseImageConfig(json({ ...config, config: { User: 'a\0b' } })), /^config\.User/],
    [() => parseImageLayout('{"imageLayoutVersion":"2.0.0"}'), /^imageLayoutVersion/],
    [() => parseIndex(`{"manifests":${'['.repeat(100)}`), /nested deeper/],
    [() => parseImageConfig(Buffer.alloc(8 * 1024 * 1024 + 1, 0x20)), /larger than/],
    [
      () => checkLayerCount(parseManifest(json({ ...manifest, layers: [] })), parseImageConfig(json(config))),
      /^image has 0 layers and 2 diff ids/,
    ],
  ];
  for (const [run, message] of hostile) t.match(refused(run), message);
  t.end();
});
