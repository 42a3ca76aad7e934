/**
 * Files with holes, in the four forms that GNU tar writes: the old one (type flag `S`, a map in the header and in blocks after
 * it) and PAX 0.0, 0.1 and 1.0 (a map in records or, for 1.0, at the beginning of the content). In all of them the content is
 * the fragments one after another; the map says where each belongs and how long the whole file is.
 */
import { invalidArgument } from '@gantry/errors';
import { blockBytes, numericField } from './header-block.ts';
import type { PaxRecords } from './pax-records.ts';

/** Bytes of the file that are in the archive. */
export interface Fragment {
  readonly offset: bigint;
  readonly length: bigint;
}

/** Records of PAX 0.0 that come once for each fragment; `parsePaxRecords` puts them together under the third. */
export const sparseOffsetKeyword = 'GNU.sparse.offset';
export const sparseLengthKeyword = 'GNU.sparse.numbytes';
export const sparseMapKeyword = 'GNU.sparse.map';

const sizeKeywords = ['GNU.sparse.realsize', 'GNU.sparse.size'];

/** More fragments than this are no file that anybody has. */
export const maximumFragments = 1 << 17;

/** What PAX records say about holes; undefined when the entry has none. */
export interface PaxSparse {
  /** The name as it was: that of the header is made up. */
  readonly name: Buffer | undefined;
  readonly realSize: bigint;
  /** Undefined: the map stands at the beginning of the content. */
  readonly fragments: readonly Fragment[] | undefined;
}

/** Throws invalid argument when the records contradict each other. */
export function paxSparse(records: PaxRecords): PaxSparse | undefined {
  const text = (keyword: string): string | undefined => records.get(keyword)?.toString('latin1');
  const major = text('GNU.sparse.major');
  const map = text(sparseMapKeyword);
  if (major === undefined && map === undefined) return undefined;
  const size = sizeKeywords.map(text).find((value) => value !== undefined);
  if (size === undefined) throw invalidArgument('sparse tar entry without its size');
  const about = { name: records.get('GNU.sparse.name'), realSize: decimal(size) };
  const version = `${major ?? '0'}.${text('GNU.sparse.minor') ?? '1'}`;
  if (version === '1.0') return { ...about, fragments: undefined };
  if (major !== undefined && version !== '0.0' && version !== '0.1') {
    throw invalidArgument(`sparse tar entry of version ${JSON.stringify(version)}`);
  }
  return {
    ...about,
    fragments: fragmentsOf(
      (map ?? '')
        .split(',')
        .filter((part) => part !== '')
        .map(decimal),
    ),
  };
}

/** The fields of the old form: four fragments in the header, 21 in each block after it. */
const oldHeader = { map: 386, entries: 4, extended: 482, realSize: 483 };
const oldBlock = { map: 0, entries: 21, extended: 504 };

/** What a header of type `S` says. */
export function oldSparseHeader(block: Buffer): { fragments: Fragment[]; realSize: bigint; isExtended: boolean } {
  return {
    fragments: oldFragments(block, oldHeader.map, oldHeader.entries),
    realSize: numericField(block, oldHeader.realSize, 12, 'real size'),
    isExtended: (block[oldHeader.extended] ?? 0) !== 0,
  };
}

/** One of the blocks that follow it. */
export function oldSparseBlock(block: Buffer): { fragments: Fragment[]; isExtended: boolean } {
  return {
    fragments: oldFragments(block, oldBlock.map, oldBlock.entries),
    isExtended: (block[oldBlock.extended] ?? 0) !== 0,
  };
}

function oldFragments(block: Buffer, start: number, entries: number): Fragment[] {
  const fragments: Fragment[] = [];
  for (let at = start; at < start + entries * 24; at += 24) {
    // The first empty place ends the map.
    if (block[at] === 0) break;
    fragments.push({
      offset: numericField(block, at, 12, 'sparse offset'),
      length: numericField(block, at + 12, 12, 'sparse length'),
    });
  }
  return fragments;
}

/**
 * The map at the beginning of the content: a decimal number of fragments, then offset and length of each, a line each, up to
 * the end of a block.
 */
export class SparseMapReader {
  readonly #numbers: bigint[] = [];
  #line = '';
  /** Bytes of the map so far. */
  #read = 0;

  /** Takes bytes of the map; gives how many, and the fragments when it is complete. */
  take(bytes: Buffer): { readonly used: number; readonly fragments: readonly Fragment[] | undefined } {
    for (let used = 0; used < bytes.length;) {
      if (this.#isComplete()) {
        // The rest of the block is padding.
        const padding = (blockBytes - (this.#read % blockBytes)) % blockBytes;
        const skipped = Math.min(padding, bytes.length - used);
        this.#read += skipped;
        const done = skipped === padding;
        return { used: used + skipped, fragments: done ? fragmentsOf(this.#numbers.slice(1)) : undefined };
      }
      this.#digit(bytes[used] ?? 0);
      used += 1;
      this.#read += 1;
    }
    const ended = this.#isComplete() && this.#read % blockBytes === 0;
    return { used: bytes.length, fragments: ended ? fragmentsOf(this.#numbers.slice(1)) : undefined };
  }

  #digit(byte: number): void {
    if (byte !== 0x0a) {
      this.#line += String.fromCharCode(byte);
      if (this.#line.length > 20) throw invalidArgument('sparse tar entry with a malformed map');
      return;
    }
    this.#numbers.push(decimal(this.#line));
    this.#line = '';
    if ((this.#numbers[0] ?? 0n) > BigInt(maximumFragments)) throw tooMany();
  }

  #isComplete(): boolean {
    const count = this.#numbers[0];
    return count !== undefined && this.#numbers.length === 1 + 2 * Number(count);
  }
}

/** Where the content goes, called in order. */
export interface SparseSink {
  data(bytes: Buffer): void;
  hole(length: bigint): void;
}

/** Lays fragments and holes out, in the order of the file. */
export class SparseLayout {
  readonly #fragments: readonly Fragment[];
  readonly #realSize: bigint;
  readonly #sink: SparseSink;
  #index = 0;
  /** Bytes of the current fragment that came. */
  #done = 0n;
  #position = 0n;

  /** Throws invalid argument for a map that is not in order or does not fit the file or `storedBytes`. */
  constructor(fragments: readonly Fragment[], realSize: bigint, storedBytes: bigint, sink: SparseSink) {
    if (fragments.length > maximumFragments) throw tooMany();
    let end = 0n;
    let stored = 0n;
    for (const { offset, length } of fragments) {
      if (offset < end || length < 0n || offset + length > realSize) {
        throw invalidArgument('sparse tar entry with a map that is out of order');
      }
      end = offset + length;
      stored += length;
    }
    if (stored !== storedBytes) throw invalidArgument('sparse tar entry whose map does not fit its content');
    this.#fragments = fragments.filter(({ length }) => length > 0n);
    this.#realSize = realSize;
    this.#sink = sink;
  }

  /** The next bytes of the content. */
  write(bytes: Buffer): void {
    for (let used = 0; used < bytes.length;) {
      const fragment = this.#fragments[this.#index];
      if (fragment === undefined) throw invalidArgument('sparse tar entry with more content than its map has');
      this.#holeUpTo(fragment.offset);
      const left = fragment.length - this.#done;
      const length = left < BigInt(bytes.length - used) ? Number(left) : bytes.length - used;
      this.#sink.data(bytes.subarray(used, used + length));
      used += length;
      this.#position += BigInt(length);
      this.#done += BigInt(length);
      if (this.#done < fragment.length) continue;
      this.#done = 0n;
      this.#index += 1;
    }
  }

  /** After the last byte. */
  end(): void {
    this.#holeUpTo(this.#realSize);
  }

  #holeUpTo(offset: bigint): void {
    // Within a fragment the position is beyond its offset.
    if (offset <= this.#position) return;
    this.#sink.hole(offset - this.#position);
    this.#position = offset;
  }
}

function fragmentsOf(numbers: readonly bigint[]): Fragment[] {
  if (numbers.length % 2 !== 0) throw invalidArgument('sparse tar entry with half a fragment in its map');
  if (numbers.length / 2 > maximumFragments) throw tooMany();
  const fragments: Fragment[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    fragments.push({ offset: numbers[at] ?? 0n, length: numbers[at + 1] ?? 0n });
  }
  return fragments;
}

function decimal(text: string): bigint {
  if (!/^\d{1,19}$/.test(text)) throw invalidArgument('sparse tar entry with a malformed map');
  return BigInt(text);
}

function tooMany(): Error {
  return invalidArgument(`sparse tar entry of more than ${maximumFragments} fragments`);
}
