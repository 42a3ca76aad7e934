/** Makes small OCI images out of the machine's static busybox, and broken ones on purpose. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

/** One entry of a tar, as little as the tests need; `body` of a link is its target. */
export interface TarEntry {
  readonly name: string;
  readonly type?: 'file' | 'directory' | 'symlink' | 'hardlink' | 'character' | 'fifo';
  readonly body?: Buffer | string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
}

const typeFlags = { file: '0', hardlink: '1', symlink: '2', character: '3', directory: '5', fifo: '6' } as const;

function header(entry: TarEntry, sizeBytes: number, link: string): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  };
  const type = entry.type ?? 'file';
  block.write(entry.name, 0, 100, 'utf8');
  octal(entry.mode ?? (type === 'directory' ? 0o755 : 0o644), 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(entry.mtime ?? 1_700_000_000, 136, 12);
  block.write('        ', 148, 'latin1');
  block.write(typeFlags[type], 156, 'latin1');
  block.write(link, 157, 100, 'utf8');
  block.write('ustar\x0000', 257, 'latin1');
  octal(type === 'character' ? 1 : 0, 329, 8);
  octal(type === 'character' ? 3 : 0, 337, 8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A ustar archive written plainly, so that the product's own writer is not its own judge. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const isLink = entry.type === 'symlink' || entry.type === 'hardlink';
    const body = isLink ? Buffer.alloc(0) : Buffer.from(entry.body ?? '');
    parts.push(header(entry, body.length, isLink ? String(entry.body) : ''), body);
    parts.push(Buffer.alloc((512 - (body.length % 512)) % 512));
  }
  parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

export function sha256(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** The static busybox of the machine (Debian package busybox-static). */
export function busyboxBinary(): Buffer {
  const file = ['/bin/busybox', '/usr/bin/busybox'].find((name) => existsSync(name));
  if (file === undefined) throw new Error('no busybox on this machine: install the Debian package busybox-static');
  return readFileSync(file);
}

const applets =
  'sh true false sleep cat echo id ls mount hostname ps env pwd kill head grep stat ip touch yes dd wc seq tty stty ' +
  'mkdir rm ln chmod tail test expr awk sed date uname mknod find printf nproc dmesg umount';

/** The layer of a small but complete user land. */
export function busyboxLayer(): Buffer {
  const dirs = ['bin', 'etc', 'tmp', 'root', 'dev', 'proc', 'sys', 'home', 'home/web', 'var', 'run'];
  return tar([
    ...dirs.map((name): TarEntry => ({ name: `${name}/`, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755 })),
    { name: 'bin/busybox', body: busyboxBinary(), mode: 0o755 },
    ...applets.split(' ').map((name): TarEntry => ({ name: `bin/${name}`, type: 'symlink', body: 'busybox' })),
    { name: 'etc/passwd', body: 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n' },
    { name: 'etc/group', body: 'root:x:0:\nweb:x:1000:\nextra:x:2000:web\n' },
  ]);
}

export interface ImageOptions {
  /** Uncompressed layers; default: the busybox layer. */
  readonly layers?: readonly Buffer[];
  readonly gzip?: boolean;
  readonly config?: Readonly<Record<string, unknown>>;
  /** The name in the index's annotation. */
  readonly name?: string;
  /** Changes a blob after its digest was taken: a lying image. */
  readonly corrupt?: (blob: Buffer, kind: 'layer' | 'config' | 'manifest') => Buffer;
  /** The diff ids the config claims; default: the true ones. */
  readonly diffIds?: readonly string[];
}

export const imageName = 'docker.io/library/box:latest';

/** An OCI layout as a tar, ready for `ctr images import` and `gantry load`. */
export function ociArchive(options: ImageOptions = {}): Buffer {
  const layers = options.layers ?? [busyboxLayer()];
  const gzip = options.gzip ?? true;
  const corrupt = options.corrupt ?? ((blob: Buffer) => blob);
  const blobs: TarEntry[] = [];
  const add = (bytes: Buffer, kind: 'layer' | 'config' | 'manifest', mediaType: string) => {
    const digest = sha256(bytes);
    blobs.push({ name: `blobs/sha256/${digest.slice(7)}`, body: corrupt(bytes, kind), mode: 0o444 });
    return { mediaType, digest, size: bytes.length };
  };
  const layerDescriptors = layers.map((layer) => {
    const type = 'application/vnd.oci.image.layer.v1.tar';
    return gzip ? add(gzipSync(layer, { level: 1 }), 'layer', `${type}+gzip`) : add(layer, 'layer', type);
  });
  const config = {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin'], Cmd: ['/bin/sh'], ...options.config },
    rootfs: { type: 'layers', diff_ids: options.diffIds ?? layers.map(sha256) },
    history: layers.map(() => ({ created: '2023-11-14T22:13:20Z', created_by: 'test' })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: add(Buffer.from(JSON.stringify(config)), 'config', 'application/vnd.oci.image.config.v1+json'),
    layers: layerDescriptors,
  };
  const descriptor = add(Buffer.from(JSON.stringify(manifest)), 'manifest', manifest.mediaType);
  const index = {
    schemaVersion: 2,
    manifests: [{ ...descriptor, annotations: { 'io.containerd.image.name': options.name ?? imageName } }],
  };
  return tar([
    { name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', body: JSON.stringify(index) },
    { name: 'blobs/', type: 'directory' },
    { name: 'blobs/sha256/', type: 'directory' },
    ...blobs,
  ]);
}
