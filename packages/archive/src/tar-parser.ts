/**
 * Reading a tar as it arrives: bytes are pushed in, entries come out as calls on a handler. Synchronous, and with bounded
 * memory whatever the archive says.
 *
 *     HEADER ──file──► BODY ──► PADDING ──► HEADER        HEADER ──x,g,L,K──► META ──► PADDING ──► HEADER
 *        └───S───► MAP ──► BODY        a file with holes; PAX has its map in records or at the beginning of BODY
 *       │ two zero blocks
 *       ▼
 *     ENDED: whatever follows is accepted and ignored, so that a stream can be read, and hashed, to its very end
 *
 * The archive is hostile: every header's checksum is verified, an entry never gets more or fewer bytes than it declared,
 * names and records are limited, and an archive that ends in the middle of anything is an error. Which names are safe to
 * use is decided by whoever uses them.
 */
import { invalidArgument, notImplemented } from '@gantry/errors';
import type { EntryHeader, EntryType } from './entry.ts';
import { blockBytes, isZeroBlock, parseHeaderBlock } from './header-block.ts';
import type { HeaderBlock } from './header-block.ts';
import { applyPaxRecords, parsePaxRecords } from './pax-records.ts';
import type { PaxRecords } from './pax-records.ts';
import {
  maximumFragments,
  oldSparseBlock,
  oldSparseHeader,
  paxSparse,
  SparseLayout,
  SparseMapReader,
} from './sparse.ts';
import type { Fragment, PaxSparse } from './sparse.ts';

/** Longest body of an extended header or a long name. */
export const maximumMetaBytes = 1024 * 1024;

/** Called in order: `entry`, any number of `data` that add up to the entry's size, `end`. A throw stops the parser. */
export interface TarHandler {
  entry(header: EntryHeader): void;
  /** A piece of the current file's content; the bytes are only lent for the call. */
  data(bytes: Uint8Array): void;
  /** So many zeros that are not in the archive. A handler without it cannot have files with holes. */
  hole?(length: bigint): void;
  /** The current entry is complete. */
  end(): void;
}

const types: ReadonlyMap<string, EntryType> = new Map([
  ['0', 'file'],
  ['7', 'file'],
  ['S', 'file'],
  ['1', 'hardlink'],
  ['2', 'symlink'],
  ['3', 'character'],
  ['4', 'block'],
  ['5', 'directory'],
  ['6', 'fifo'],
]);

type State = 'header' | 'map' | 'meta' | 'body' | 'padding' | 'ended' | 'failed';

/** A file with holes as it is read: its map first, then its fragments. */
interface SparseEntry {
  readonly realSize: bigint;
  readonly fragments: Fragment[];
  /** Reads the map out of the content (PAX 1.0). */
  reader: SparseMapReader | undefined;
  layout: SparseLayout | undefined;
}

/** See the top of the file. Errors are invalid argument (malformed) or not implemented (holes, and a handler without). */
export class TarParser {
  readonly #handler: TarHandler;
  #state: State = 'header';
  /** Collects a header block that arrives in pieces. */
  readonly #block = Buffer.alloc(blockBytes);
  #blockFill = 0;
  /** Bytes of body, meta or padding still to come. */
  #left = 0n;
  #padding = 0n;
  #metaFlag = '';
  #meta: Buffer[] = [];
  #records: PaxRecords = new Map();
  #longName: Buffer | undefined;
  #longLink: Buffer | undefined;
  #zeroBlocks = 0;
  #sparse: SparseEntry | undefined;
  #paxSparse: PaxSparse | undefined;
  /** Of the entry's content in the archive; a file with holes is larger. */
  #storedBytes = 0n;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** Takes the next bytes; calls the handler for what they complete. */
  write(chunk: Uint8Array): void {
    if (this.#state === 'failed') throw invalidArgument('tar parser used after a failure');
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    try {
      while (rest.length > 0 && this.#state !== 'ended') rest = rest.subarray(this.#take(rest));
    } catch (err) {
      this.#state = 'failed';
      throw err;
    }
  }

  /**
   * Says that no more bytes come. Throws invalid argument when the archive ends inside a header or an entry. Some writers
   * leave out the end mark, and umoci even the last entry's padding: nothing of the content is missing then.
   */
  finish(): void {
    const complete = (this.#state === 'header' && this.#blockFill === 0) || this.#state === 'padding';
    const between = complete && !this.#hasPendingMeta();
    if (this.#state !== 'ended' && !between) throw invalidArgument('truncated tar archive');
  }

  /** Uses the start of `bytes` according to the state; gives how many bytes it used, at least one. */
  #take(bytes: Buffer): number {
    if (this.#state === 'header' || this.#state === 'map') return this.#takeBlock(bytes);
    const length = this.#left < BigInt(bytes.length) ? Number(this.#left) : bytes.length;
    const piece = bytes.subarray(0, length);
    this.#left -= BigInt(length);
    if (this.#state === 'body') this.#body(piece);
    else if (this.#state === 'meta') this.#meta.push(Buffer.from(piece));
    if (this.#left === 0n) this.#partDone();
    return length;
  }

  #takeBlock(bytes: Buffer): number {
    const length = Math.min(blockBytes - this.#blockFill, bytes.length);
    bytes.copy(this.#block, this.#blockFill, 0, length);
    this.#blockFill += length;
    if (this.#blockFill === blockBytes) {
      this.#blockFill = 0;
      if (this.#state === 'map') this.#moreOfMap();
      else this.#header();
    }
    return length;
  }

  /** A block of the map of the old form. */
  #moreOfMap(): void {
    const sparse = this.#sparse;
    if (sparse === undefined) return;
    const { fragments, isExtended } = oldSparseBlock(this.#block);
    sparse.fragments.push(...fragments);
    if (sparse.fragments.length > maximumFragments) throw invalidArgument('sparse tar entry of too many fragments');
    if (isExtended) return;
    sparse.layout = this.#layOut(sparse, this.#storedBytes);
    this.#begin('body', this.#storedBytes);
  }

  #body(piece: Buffer): void {
    const sparse = this.#sparse;
    if (sparse === undefined) {
      this.#handler.data(piece);
      return;
    }
    let rest = piece;
    while (sparse.layout === undefined && rest.length > 0) {
      const { used, fragments } = sparse.reader?.take(rest) ?? { used: rest.length, fragments: [] };
      rest = rest.subarray(used);
      if (fragments === undefined) continue;
      sparse.fragments.push(...fragments);
      sparse.layout = this.#layOut(sparse, this.#left + BigInt(rest.length));
    }
    sparse.layout?.write(rest);
  }

  #layOut({ fragments, realSize }: SparseEntry, storedBytes: bigint): SparseLayout {
    const handler = this.#handler;
    return new SparseLayout(fragments, realSize, storedBytes, {
      data: (bytes) => handler.data(bytes),
      hole: (length) => handler.hole?.(length),
    });
  }

  #header(): void {
    if (isZeroBlock(this.#block)) {
      if (this.#hasPendingMeta()) throw invalidArgument('tar archive that ends after an extended header');
      this.#zeroBlocks += 1;
      if (this.#zeroBlocks === 2) this.#state = 'ended';
      return;
    }
    if (this.#zeroBlocks > 0) throw invalidArgument('tar archive that goes on after a zero block');
    const block = parseHeaderBlock(this.#block);
    if ('xgLK'.includes(block.flag)) this.#beginMeta(block);
    else this.#beginEntry(block);
  }

  #beginMeta(block: HeaderBlock): void {
    if (block.size > BigInt(maximumMetaBytes)) {
      throw invalidArgument(`tar extended header of ${block.size} bytes, at most ${maximumMetaBytes} are taken`);
    }
    this.#metaFlag = block.flag;
    this.#meta = [];
    this.#begin('meta', block.size);
  }

  #beginEntry(block: HeaderBlock): void {
    const { header, storedBytes } = this.#entryHeader(block);
    const old = block.flag === 'S' ? oldSparseHeader(this.#block) : undefined;
    const pax = block.flag === 'S' ? undefined : this.#paxSparse;
    this.#records = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#paxSparse = undefined;
    this.#storedBytes = storedBytes;
    this.#sparse = sparseEntry(old, pax);
    this.#handler.entry(header);
    if (old?.isExtended === true) {
      this.#state = 'map';
      return;
    }
    if (this.#sparse !== undefined && this.#sparse.reader === undefined) {
      this.#sparse.layout = this.#layOut(this.#sparse, storedBytes);
    }
    this.#begin('body', storedBytes);
  }

  #entryHeader(block: HeaderBlock): { readonly header: EntryHeader; readonly storedBytes: bigint } {
    const pax = applyPaxRecords(block, this.#records);
    // An archive with both is malformed; Go's reader, which most layers were checked with, takes GNU's.
    this.#paxSparse = paxSparse(this.#records);
    const name = this.#longName ?? this.#paxSparse?.name ?? pax.name;
    const linkName = this.#longLink ?? pax.linkName;
    const type = this.#typeOf(block.flag, name, pax.size);
    const isSparse = block.flag === 'S' || this.#paxSparse !== undefined;
    if (isSparse && (type !== 'file' || this.#handler.hole === undefined)) {
      throw notImplemented(`tar entry with holes, which is a ${type}`);
    }
    // Only files have content; other types may carry a size that stands for nothing.
    const storedBytes = type === 'file' ? pax.size : 0n;
    const realSize = block.flag === 'S' ? oldSparseHeader(this.#block).realSize : this.#paxSparse?.realSize;
    const header: EntryHeader = {
      type,
      name,
      linkName: type === 'hardlink' || type === 'symlink' ? linkName : Buffer.alloc(0),
      mode: pax.mode,
      uid: pax.uid,
      gid: pax.gid,
      userName: pax.userName,
      groupName: pax.groupName,
      size: realSize ?? storedBytes,
      mtimeNs: pax.mtimeNs,
      atimeNs: pax.atimeNs,
      ctimeNs: pax.ctimeNs,
      deviceMajor: pax.deviceMajor,
      deviceMinor: pax.deviceMinor,
      xattrs: pax.xattrs,
    };
    return { header, storedBytes };
  }

  #typeOf(flag: string, name: Buffer, size: bigint): EntryType {
    const type = types.get(flag);
    if (type === undefined) throw invalidArgument(`tar entry of unknown type ${JSON.stringify(flag)}`);
    if (type !== 'file' || name.at(-1) !== 0x2f) return type;
    // Before ustar a directory was an empty file whose name ends in a slash.
    if (size > 0n) throw invalidArgument('tar entry that is a directory by name and a file by content');
    return 'directory';
  }

  #begin(state: 'meta' | 'body', size: bigint): void {
    this.#state = state;
    this.#left = size;
    const over = size % BigInt(blockBytes);
    this.#padding = over === 0n ? 0n : BigInt(blockBytes) - over;
    if (size === 0n) this.#partDone();
  }

  /** The body, meta body or padding is complete. */
  #partDone(): void {
    if (this.#state === 'body') this.#endEntry();
    else if (this.#state === 'meta') this.#metaDone();
    if (this.#state !== 'padding' && this.#padding > 0n) {
      this.#state = 'padding';
      this.#left = this.#padding;
    } else {
      this.#state = 'header';
    }
  }

  #endEntry(): void {
    if (this.#sparse !== undefined && this.#sparse.layout === undefined) {
      throw invalidArgument('sparse tar entry that ends in its map');
    }
    this.#sparse?.layout?.end();
    this.#sparse = undefined;
    this.#handler.end();
  }

  #metaDone(): void {
    const body = Buffer.concat(this.#meta);
    this.#meta = [];
    // Global headers ('g') are read over, as Go's reader does: what they set never reaches an entry.
    if (this.#metaFlag === 'x') this.#records = parsePaxRecords(body);
    else if (this.#metaFlag === 'g') parsePaxRecords(body);
    else if (this.#metaFlag === 'L') this.#longName = untilNul(body);
    else if (this.#metaFlag === 'K') this.#longLink = untilNul(body);
  }

  #hasPendingMeta(): boolean {
    return this.#records.size > 0 || this.#longName !== undefined || this.#longLink !== undefined;
  }
}

function sparseEntry(
  old: ReturnType<typeof oldSparseHeader> | undefined,
  pax: PaxSparse | undefined,
): SparseEntry | undefined {
  if (old !== undefined) {
    return { realSize: old.realSize, fragments: [...old.fragments], reader: undefined, layout: undefined };
  }
  if (pax === undefined) return undefined;
  const reader = pax.fragments === undefined ? new SparseMapReader() : undefined;
  return { realSize: pax.realSize, fragments: [...(pax.fragments ?? [])], reader, layout: undefined };
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end));
}
