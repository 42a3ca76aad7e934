/** The image that `images` brings in: large, of five layers, with files as images have them. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { sha256, tar } from '@gantry/test';
import type { TarEntry } from '@gantry/test';

export const layerCount = 5;
export const archiveName = 'docker.io/library/large:1';
const mebibyte = 2 ** 20;

/** Files of 4 KiB to 4 MiB, most of them small, half of their bytes without a pattern; a tenth of the space in each size. */
function layerFiles(layer: number, mebibytes: number): TarEntry[] {
  const entries: TarEntry[] = [{ name: `layer${layer}/`, type: 'directory', mode: 0o755 }];
  const text = Buffer.alloc(4 * mebibyte, 'a line as programs and their data have them, more or less\n');
  let left = mebibytes * mebibyte;
  for (let count = 0; left > 0; count += 1) {
    if (count % 100 === 0) entries.push({ name: `layer${layer}/d${count / 100}/`, type: 'directory', mode: 0o755 });
    const size = Math.min(left, 4096 * 2 ** ((count * 7) % 11));
    const half = size >> 1;
    const body = Buffer.concat([randomBytes(half), text.subarray(0, size - half)]);
    entries.push({ name: `layer${layer}/d${Math.floor(count / 100)}/f${count}`, body });
    left -= size;
  }
  return entries;
}

/** An OCI archive of five layers with so many mebibytes in all, plain or packed. */
export function largeArchive(mebibytes: number, pack: boolean): Buffer {
  const blobs: TarEntry[] = [];
  const add = (bytes: Buffer, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(bytes);
    blobs.push({ name: `blobs/sha256/${digest.slice(7)}`, body: bytes });
    return { mediaType, digest, size: bytes.length };
  };
  const diffIds: string[] = [];
  const layerType = 'application/vnd.oci.image.layer.v1.tar';
  const layers = Array.from({ length: layerCount }, (_, index) => {
    const layer = tar(layerFiles(index, mebibytes / layerCount));
    diffIds.push(sha256(layer));
    return pack ? add(gzipSync(layer, { level: 1 }), `${layerType}+gzip`) : add(layer, layerType);
  });
  const platform = { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' };
  const config = { ...platform, config: {}, rootfs: { type: 'layers', diff_ids: diffIds } };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: add(Buffer.from(JSON.stringify(config)), 'application/vnd.oci.image.config.v1+json'),
    layers,
  };
  const descriptor = add(Buffer.from(JSON.stringify(manifest)), manifest.mediaType);
  const named = { ...descriptor, annotations: { 'io.containerd.image.name': archiveName } };
  return tar([
    { name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', body: JSON.stringify({ schemaVersion: 2, manifests: [named] }) },
    ...blobs,
  ]);
}
