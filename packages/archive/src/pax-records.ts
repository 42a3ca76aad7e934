/** PAX extended header records (POSIX.1-2001, pax(1)): `<length> <keyword>=<value>\n`, the length counting itself. */
import { invalidArgument } from '@gantry/errors';
import type { HeaderBlock } from './header-block.ts';
import { sparseLengthKeyword, sparseMapKeyword, sparseOffsetKeyword } from './sparse.ts';

const xattrPrefix = 'SCHILY.xattr.';
const nanosecondsPerSecond = 1_000_000_000n;

/** Keyword → value; the last one of a keyword wins. Values are bytes. */
export type PaxRecords = ReadonlyMap<string, Buffer>;

/** Splits the body of an extended header. Throws invalid argument when it is malformed. */
export function parsePaxRecords(body: Buffer): PaxRecords {
  const records = new Map<string, Buffer>();
  const sparse: string[] = [];
  for (let start = 0; start < body.length;) {
    const blank = body.indexOf(0x20, start);
    const digits = blank === -1 ? '' : body.toString('latin1', start, blank);
    if (!/^[1-9]\d{0,9}$/.test(digits)) throw malformed();
    const end = start + Number(digits);
    const equals = body.indexOf(0x3d, blank);
    if (end > body.length || equals === -1 || equals >= end - 1 || body[end - 1] !== 0x0a) throw malformed();
    const keyword = body.toString('utf8', blank + 1, equals);
    if (keyword === '') throw malformed();
    const value = body.subarray(equals + 1, end - 1);
    // The oldest way of naming fragments repeats these two by turns.
    if (keyword === sparseOffsetKeyword || keyword === sparseLengthKeyword) {
      const isOffset = keyword === sparseOffsetKeyword;
      if (isOffset !== (sparse.length % 2 === 0)) throw malformed();
      sparse.push(value.toString('latin1'));
    } else {
      records.set(keyword, Buffer.from(value));
    }
    start = end;
  }
  if (sparse.length > 0) records.set(sparseMapKeyword, Buffer.from(sparse.join(',')));
  return records;
}

/** What records can override beside the header's own fields. */
export interface PaxHeader extends HeaderBlock {
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint | undefined;
  readonly ctimeNs: bigint | undefined;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** Lays records over a header. An empty value leaves the header's. Unknown keywords are passed over, as pax(1) says. */
export function applyPaxRecords(block: HeaderBlock, records: PaxRecords): PaxHeader {
  const value = (keyword: string): Buffer | undefined => {
    const found = records.get(keyword);
    return found === undefined || found.length === 0 ? undefined : found;
  };
  const id = (keyword: string, otherwise: number): number => {
    const number = integer(value(keyword), keyword);
    if (number === undefined) return otherwise;
    if (number > 0xffff_ffffn) throw invalidArgument(`tar record ${keyword}=${number}`);
    return Number(number);
  };
  const xattrs = new Map<string, Buffer>();
  for (const [keyword, bytes] of records) {
    if (keyword.startsWith(xattrPrefix)) xattrs.set(keyword.slice(xattrPrefix.length), bytes);
  }
  return {
    ...block,
    name: path(value('path'), 'path') ?? block.name,
    linkName: path(value('linkpath'), 'linkpath') ?? block.linkName,
    size: integer(value('size'), 'size') ?? block.size,
    uid: id('uid', block.uid),
    gid: id('gid', block.gid),
    userName: value('uname')?.toString('utf8') ?? block.userName,
    groupName: value('gname')?.toString('utf8') ?? block.groupName,
    mtimeNs: time(value('mtime'), 'mtime') ?? block.mtimeSeconds * nanosecondsPerSecond,
    atimeNs: time(value('atime'), 'atime'),
    ctimeNs: time(value('ctime'), 'ctime'),
    xattrs,
  };
}

function path(bytes: Buffer | undefined, keyword: string): Buffer | undefined {
  if (bytes?.includes(0) === true) throw invalidArgument(`tar record ${keyword} with a NUL byte`);
  return bytes;
}

function integer(bytes: Buffer | undefined, keyword: string): bigint | undefined {
  if (bytes === undefined) return undefined;
  const digits = bytes.toString('latin1');
  if (!/^\d{1,19}$/.test(digits)) throw invalidArgument(`tar record ${keyword} that is not a number`);
  return BigInt(digits);
}

/** Decimal seconds with an optional fraction, of which nine digits count. */
function time(bytes: Buffer | undefined, keyword: string): bigint | undefined {
  if (bytes === undefined) return undefined;
  const match = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(bytes.toString('latin1'));
  if (match === null) throw invalidArgument(`tar record ${keyword} that is not a time`);
  const [, sign = '', seconds = '0', fraction = ''] = match;
  const ns = BigInt(seconds) * nanosecondsPerSecond + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -ns : ns;
}

function malformed(): Error {
  return invalidArgument('tar extended header with a malformed record');
}
