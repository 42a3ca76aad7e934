/** Hand-made image archives of the machine's static busybox. */
import { existsSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { digestOf, hostPlatform } from '@gantry/oci';
import { tarBytes } from './tar-bytes.ts';
import type { PlainEntry } from './tar-bytes.ts';

const busyboxPath = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file));

/** Undefined when images can be made here, else the reason why not. */
export const busyboxMissing = busyboxPath === undefined ? 'busybox-static is not installed' : undefined;

const applets = 'sh cat echo sleep true false id env pwd ls ps kill stty tty head yes hostname touch'.split(' ');

/** The files of the lower layer. */
export function baseLayer(): Buffer {
  const directories = ['bin', 'etc', 'tmp', 'root', 'dev', 'proc', 'sys', 'run', 'home'];
  return tarBytes([
    ...directories.map((name): PlainEntry => ({ name: `${name}/`, type: 'directory', mode: 0o755 })),
    { name: 'bin/busybox', body: readFileSync(busyboxPath ?? '/bin/busybox') },
    ...applets.map((name): PlainEntry => ({ name: `bin/${name}`, type: 'symlink', body: 'busybox' })),
    { name: 'etc/passwd', body: 'root:x:0:0:root:/root:/bin/sh\n', mode: 0o644 },
    { name: 'etc/group', body: 'root:x:0:\n', mode: 0o644 },
  ]);
}

/** A layer on top: its passwd hides the lower one's. */
export function userLayer(): Buffer {
  return tarBytes([
    { name: 'etc/passwd', body: 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home:/bin/sh\n', mode: 0o644 },
    { name: 'etc/group', body: 'root:x:0:\nalice:x:1001:\nstaff:x:50:alice\n', mode: 0o644 },
  ]);
}

export interface ArchiveChoices {
  readonly layers?: readonly Buffer[];
  /** `config` member of the image config. */
  readonly run?: Readonly<Record<string, unknown>>;
  /** Diff ids to claim instead of the true ones. */
  readonly diffIds?: readonly string[];
  /** Annotations of the index entry. */
  readonly annotations?: Readonly<Record<string, string>>;
}

function configOf(choices: ArchiveChoices, layers: readonly Buffer[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...hostPlatform(),
      created: '2024-01-01T00:00:00Z',
      config: { Env: ['PATH=/bin', 'FROM_IMAGE=1'], Cmd: ['sh'], ...choices.run },
      rootfs: { type: 'layers', diff_ids: choices.diffIds ?? layers.map((layer) => digestOf(layer)) },
    }),
  );
}

const blobPath = (bytes: Buffer): string => `blobs/${digestOf(bytes).replace(':', '/')}`;

/** An OCI layout as a tar; its index comes first, so that readers must not rely on the order. */
export function ociArchive(choices: ArchiveChoices = {}): Buffer {
  const layers = choices.layers ?? [baseLayer(), userLayer()];
  const config = configOf(choices, layers);
  const packed = layers.map((layer) => gzipSync(layer));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', config),
      layers: packed.map((blob) => descriptor('application/vnd.oci.image.layer.v1.tar+gzip', blob)),
    }),
  );
  const annotations = choices.annotations ?? { 'io.containerd.image.name': 'docker.io/library/box:1' };
  const index = {
    schemaVersion: 2,
    manifests: [{ ...descriptor('application/vnd.oci.image.manifest.v1+json', manifest), annotations }],
  };
  return tarBytes([
    { name: 'index.json', body: JSON.stringify(index) },
    { name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' },
    ...[config, manifest, ...packed].map((blob) => ({ name: blobPath(blob), body: blob })),
  ]);
}

/** What `docker save` wrote for years: layers in directories, one of them a link to another. */
export function dockerArchive(tag: string, choices: ArchiveChoices = {}): Buffer {
  const layers = choices.layers ?? [baseLayer(), userLayer()];
  const config = configOf(choices, layers);
  const id = digestOf(config).slice('sha256:'.length);
  const manifest = [{ Config: `${id}.json`, RepoTags: [tag], Layers: layers.map((_, index) => `l${index}/layer.tar`) }];
  return tarBytes([
    ...layers.flatMap((layer, index): PlainEntry[] => [
      { name: `l${index}/`, type: 'directory' },
      { name: `l${index}/VERSION`, body: '1.0' },
      { name: `blob${index}.tar`, body: layer },
      { name: `l${index}/layer.tar`, type: 'symlink', body: `../blob${index}.tar` },
    ]),
    { name: `${id}.json`, body: config },
    { name: 'manifest.json', body: JSON.stringify(manifest) },
  ]);
}

function descriptor(mediaType: string, bytes: Buffer): Record<string, unknown> {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}
