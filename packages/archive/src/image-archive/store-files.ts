/**
 * Reads an image archive once, in whatever order its entries come, and stores every file of it as content.
 *
 * Blobs of a layout carry their digest in their path, so that what is there already is skipped and the server verifies
 * the rest. The few documents that say how the files belong together stay in memory, bounded.
 */
import { randomUUID } from 'node:crypto';
import { isDigest } from '@gantry/oci';
import type { LayerCompression } from '@gantry/oci';
import { invalidArgument, notFound, notImplemented, resourceExhausted, wrap } from '@gantry/errors';
import { decompress, detectCompression } from '../compression.ts';
import { readTar } from '../read-tar.ts';
import { throughCommand } from '../transform.ts';
import type { ArchiveContent } from './archive-content.ts';

/** Limit of one document kept in memory. */
const documentLimitBytes = 20 * 1024 * 1024;

/** So many bytes tell how a file is packed. */
const magicBytes = 4;

const documentNames = new Set(['oci-layout', 'index.json', 'manifest.json', 'repositories']);

/** A file of the archive as it is stored now. */
export interface StoredFile {
  readonly digest: string;
  readonly size: bigint;
  /** By its first bytes. */
  readonly compression: LayerCompression;
}

/** What an archive holds; keys are clean paths without a leading `./`. */
export class ArchiveFiles {
  private readonly files = new Map<string, StoredFile>();
  private readonly links = new Map<string, string>();
  private readonly documents = new Map<string, Buffer>();

  addFile(path: string, file: StoredFile): void {
    this.files.set(path, file);
  }

  addLink(path: string, target: string): void {
    this.links.set(path, target);
  }

  addDocument(path: string, bytes: Buffer): void {
    this.documents.set(path, bytes);
  }

  document(path: string): Buffer | undefined {
    return this.documents.get(path);
  }

  /** The stored file at a path, through links within the archive. Throws not found. */
  file(unsafePath: string): StoredFile {
    let path = cleanPath(unsafePath);
    for (let hops = 0; hops <= this.links.size; hops += 1) {
      const found = this.files.get(path);
      if (found !== undefined) return found;
      const target = this.links.get(path);
      if (target === undefined) break;
      path = target;
    }
    throw notFound(`file "${unsafePath}" in the archive`);
  }
}

/** Stores the archive's files: a tar, plain or packed with gzip or zstd. */
export async function storeArchive(source: AsyncIterable<Uint8Array>, content: ArchiveContent): Promise<ArchiveFiles> {
  const archive = new ArchiveFiles();
  for await (const { header, body } of readTar(await decompressed(source))) {
    const path = cleanPath(header.name.toString());
    const target = header.linkName.toString();
    if (header.type === 'symlink') {
      archive.addLink(path, cleanPath(target.startsWith('/') ? target : `${path}/../${target}`));
    } else if (header.type === 'hardlink') {
      archive.addLink(path, cleanPath(target));
    } else if (header.type === 'file') {
      if (documentNames.has(path)) archive.addDocument(path, await collect(body, path));
      else archive.addFile(path, await storeFile(body, path, header.size, content));
    }
  }
  return archive;
}

async function storeFile(
  body: AsyncIterable<Uint8Array>,
  path: string,
  size: bigint,
  content: ArchiveContent,
): Promise<StoredFile> {
  const [, algorithm, encoded] = /^blobs\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  const named = `${algorithm ?? ''}:${encoded ?? ''}`;
  const expected = isDigest(named) ? named : undefined;
  const peeked = await peek(body, magicBytes);
  try {
    const written = await content.write(peeked.all(), {
      ref: expected === undefined ? `tar-${randomUUID()}-${path}` : `blob-${expected}`,
      expected,
      size,
    });
    return { digest: written.digest, size, compression: detectCompression(peeked.head) };
  } catch (err) {
    throw wrap(err, `storing "${path}" of the archive`);
  }
}

async function collect(body: AsyncIterable<Uint8Array>, path: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.length;
    if (sizeBytes > documentLimitBytes) {
      throw resourceExhausted(`"${path}" of the archive is larger than ${documentLimitBytes} bytes`);
    }
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

/**
 * What layers are never packed with, but whole archives are; Debian has the commands (xz-utils, bzip2). A stranger chose how much
 * memory unpacking takes.
 */
const packers = [
  { magic: [0xfd, 0x37, 0x7a, 0x58], command: 'xz', args: ['-dcq', '--memlimit-decompress=512MiB'] },
  { magic: [0x42, 0x5a, 0x68], command: 'bzip2', args: ['-dcq'] },
] as const;

/** Not implemented when the command is not installed. */
function unpackedBy(
  { command, args }: (typeof packers)[number],
  source: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  return throughCommand(source, {
    file: command,
    args,
    failure: (outcome, complaint) =>
      outcome instanceof Error
        ? notImplemented(`archives packed with ${command} without the command: ${outcome.message}`, {}, outcome)
        : invalidArgument(`${command} data: ${complaint === '' ? String(outcome) : complaint}`),
  });
}

/** The plain tar inside the source, by its first bytes. */
async function decompressed(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const { head, all } = await peek(source, magicBytes);
  if (head.length === 0) throw invalidArgument('the archive is empty');
  const packer = packers.find(({ magic }) => magic.every((byte, index) => head[index] === byte));
  if (packer !== undefined) return unpackedBy(packer, all());
  return decompress(all(), detectCompression(head));
}

/** The first bytes of a stream (fewer at its end), and the whole stream again. */
async function peek(
  source: AsyncIterable<Uint8Array>,
  length: number,
): Promise<{ head: Buffer; all: () => AsyncGenerator<Uint8Array, void, void> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < length) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const start = head;
  return {
    head: head.subarray(0, length),
    async *all() {
      if (start.length > 0) yield start;
      yield* { [Symbol.asyncIterator]: () => iterator };
    },
  };
}

/** Slashes collapsed, `.` and `..` resolved within the archive. */
function cleanPath(unsafePath: string): string {
  const parts: string[] = [];
  for (const part of unsafePath.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
