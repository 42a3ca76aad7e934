/**
 * The 512-byte header of a tar member: ustar (POSIX.1-1988), GNU's variant of it, and the old v7 form. Fields as they
 * stand; what PAX records and GNU long names override is the parser's business.
 *
 *      offset size field            offset size field
 *           0  100 name                265   32 user name
 *         100    8 mode                297   32 group name
 *         108    8 uid                 329    8 device major
 *         116    8 gid                 337    8 device minor
 *         124   12 size                345  155 prefix (ustar only)
 *         136   12 mtime               508    4 "tar\0" (star: the prefix then has 131)
 *         148    8 checksum
 *         156    1 type flag
 *         157  100 link name
 *         257    8 magic and version: "ustar\0" "00", or GNU's "ustar  \0"
 */
import { invalidArgument } from '@gantry/errors';

export const blockBytes = 512;

export interface HeaderBlock {
  /** The type flag's character; '0' for the old NUL. */
  readonly flag: string;
  /** With the prefix of ustar in front. */
  readonly name: Buffer;
  readonly linkName: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: bigint;
  readonly mtimeSeconds: bigint;
  readonly userName: string;
  readonly groupName: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** True when all bytes are zero: the end mark. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads a header block. Throws invalid argument when the checksum or a field is wrong. */
export function parseHeaderBlock(block: Buffer): HeaderBlock {
  verifyChecksum(block);
  const magic = block.toString('latin1', 257, 265);
  const ustar = magic.startsWith('ustar\0');
  const known = ustar || magic === 'ustar  \0';
  const prefixBytes = block.toString('latin1', 508, 512) === 'tar\0' ? 131 : 155;
  const prefix = ustar ? text(block, 345, prefixBytes) : Buffer.alloc(0);
  const name = text(block, 0, 100);
  const flag = String.fromCharCode(block[156] ?? 0);
  return {
    flag: flag === '\0' ? '0' : flag,
    name: prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]),
    linkName: text(block, 157, 100),
    mode: small(block, 100, 8, 'mode') & 0o7777,
    uid: small(block, 108, 8, 'uid'),
    gid: small(block, 116, 8, 'gid'),
    size: unsigned(block, 124, 12, 'size'),
    mtimeSeconds: numeric(block, 136, 12, 'mtime'),
    userName: known ? text(block, 265, 32).toString('utf8') : '',
    groupName: known ? text(block, 297, 32).toString('utf8') : '',
    deviceMajor: known ? small(block, 329, 8, 'device major') : 0,
    deviceMinor: known ? small(block, 337, 8, 'device minor') : 0,
  };
}

/** The sum of all bytes with the checksum field itself counted as blanks; old tars summed signed bytes. */
function verifyChecksum(block: Buffer): void {
  let sum = 8 * 0x20;
  let signedSum = sum;
  for (let index = 0; index < blockBytes; index++) {
    if (index >= 148 && index < 156) continue;
    const byte = block[index] ?? 0;
    sum += byte;
    signedSum += byte > 127 ? byte - 256 : byte;
  }
  const stored = numeric(block, 148, 8, 'checksum');
  if (stored !== BigInt(sum) && stored !== BigInt(signedSum)) throw invalidArgument('tar header with a wrong checksum');
}

/** The bytes up to the first NUL, copied. */
function text(block: Buffer, offset: number, length: number): Buffer {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end === -1 ? field : field.subarray(0, end));
}

function small(block: Buffer, offset: number, length: number, what: string): number {
  const value = unsigned(block, offset, length, what);
  if (value > 0xffff_ffffn) throw invalidArgument(`tar header with ${what} ${value}`);
  return Number(value);
}

function unsigned(block: Buffer, offset: number, length: number, what: string): bigint {
  const value = numeric(block, offset, length, what);
  if (value < 0n) throw invalidArgument(`tar header with negative ${what}`);
  return value;
}

/** A number of another block that uses the same notation. Throws invalid argument. */
export function numericField(block: Buffer, offset: number, length: number, what: string): bigint {
  return unsigned(block, offset, length, what);
}

/** Octal digits, or, when the first bit is set, a big-endian two's complement number (GNU's base 256). */
function numeric(block: Buffer, offset: number, length: number, what: string): bigint {
  const field = block.subarray(offset, offset + length);
  const first = field[0] ?? 0;
  if (first >= 0x80) {
    const magnitude = BigInt(`0x${field.toString('hex')}`);
    // The marker bit is not part of the number; the next one is its sign.
    return BigInt.asIntN(length * 8 - 1, magnitude);
  }
  const digits = field.toString('latin1').replaceAll('\0', ' ').trim();
  if (digits === '') return 0n;
  if (!/^[0-7]+$/.test(digits)) throw invalidArgument(`tar header with malformed ${what}`);
  return BigInt(`0o${digits}`);
}
