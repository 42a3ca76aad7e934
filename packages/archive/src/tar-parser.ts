/**
 * Reading a tar as it arrives: bytes are pushed in, entries come out as calls on a handler. Synchronous, and with bounded
 * memory whatever the archive says.
 *
 *     HEADER ──file──► BODY ──► PADDING ──► HEADER        HEADER ──x,g,L,K──► META ──► PADDING ──► HEADER
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

/** Longest body of an extended header or a long name. */
export const maximumMetaBytes = 1024 * 1024;

/** Called in order: `entry`, any number of `data` that add up to the entry's size, `end`. A throw stops the parser. */
export interface TarHandler {
  entry(header: EntryHeader): void;
  /** A piece of the current file's content; the bytes are only lent for the call. */
  data(bytes: Uint8Array): void;
  /** The current entry is complete. */
  end(): void;
}

const types: ReadonlyMap<string, EntryType> = new Map([
  ['0', 'file'],
  ['7', 'file'],
  ['1', 'hardlink'],
  ['2', 'symlink'],
  ['3', 'character'],
  ['4', 'block'],
  ['5', 'directory'],
  ['6', 'fifo'],
]);

type State = 'header' | 'meta' | 'body' | 'padding' | 'ended' | 'failed';

/** See the top of the file. Errors are invalid argument (malformed) or not implemented (sparse files). */
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
    if (this.#state === 'header') return this.#takeHeader(bytes);
    const length = this.#left < BigInt(bytes.length) ? Number(this.#left) : bytes.length;
    const piece = bytes.subarray(0, length);
    this.#left -= BigInt(length);
    if (this.#state === 'body') this.#handler.data(piece);
    else if (this.#state === 'meta') this.#meta.push(Buffer.from(piece));
    if (this.#left === 0n) this.#partDone();
    return length;
  }

  #takeHeader(bytes: Buffer): number {
    const length = Math.min(blockBytes - this.#blockFill, bytes.length);
    bytes.copy(this.#block, this.#blockFill, 0, length);
    this.#blockFill += length;
    if (this.#blockFill === blockBytes) {
      this.#blockFill = 0;
      this.#header();
    }
    return length;
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
    const header = this.#entryHeader(block);
    this.#records = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#handler.entry(header);
    this.#begin('body', header.size);
  }

  #entryHeader(block: HeaderBlock): EntryHeader {
    const pax = applyPaxRecords(block, this.#records);
    // An archive with both is malformed; Go's reader, which most layers were checked with, takes GNU's.
    const name = this.#longName ?? pax.name;
    const linkName = this.#longLink ?? pax.linkName;
    const type = this.#typeOf(block.flag, name, pax.size);
    return {
      type,
      name,
      linkName: type === 'hardlink' || type === 'symlink' ? linkName : Buffer.alloc(0),
      mode: pax.mode,
      uid: pax.uid,
      gid: pax.gid,
      userName: pax.userName,
      groupName: pax.groupName,
      // Only files have content; other types may carry a size that stands for nothing.
      size: type === 'file' ? pax.size : 0n,
      mtimeNs: pax.mtimeNs,
      atimeNs: pax.atimeNs,
      ctimeNs: pax.ctimeNs,
      deviceMajor: pax.deviceMajor,
      deviceMinor: pax.deviceMinor,
      xattrs: pax.xattrs,
    };
  }

  #typeOf(flag: string, name: Buffer, size: bigint): EntryType {
    if (flag === 'S') throw notImplemented('tar entry in a GNU sparse format');
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
    if (this.#state === 'body') this.#handler.end();
    else if (this.#state === 'meta') this.#metaDone();
    if (this.#state !== 'padding' && this.#padding > 0n) {
      this.#state = 'padding';
      this.#left = this.#padding;
    } else {
      this.#state = 'header';
    }
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

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end));
}
