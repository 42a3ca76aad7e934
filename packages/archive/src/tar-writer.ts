/**
 * Writing a tar, reproducibly: the same entries give the same bytes. Plain ustar headers as long as everything fits, a
 * PAX extended header (records in the order of their keywords) in front where it does not.
 *
 *     for each entry: tarHeader(entry) · its content · tarPadding(entry.size)      at the end: tarEnd
 */
import { invalidArgument } from '@gantry/errors';
import type { EntryHeader, EntryType } from './entry.ts';
import { blockBytes } from './header-block.ts';

/** What has to be said of an entry; the rest is 0, empty, and mode 0644 (0755 for directories). */
export interface NewEntry extends Partial<Omit<EntryHeader, 'name' | 'linkName' | 'type'>> {
  readonly type: EntryType;
  /** Directories get their slash here. */
  readonly name: string | Buffer;
  readonly linkName?: string | Buffer;
}

const flags: Readonly<Record<EntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

const nanosecondsPerSecond = 1_000_000_000n;
const largestOctal8 = 0o7777777n;
const largestOctal12 = 0o77777777777n;
const slash = 0x2f;

/** The end mark: two zero blocks. */
export const tarEnd: Buffer = Buffer.alloc(2 * blockBytes);

/** The zero bytes that follow `size` bytes of content. */
export function tarPadding(size: bigint): Buffer {
  const over = Number(size % BigInt(blockBytes));
  return Buffer.alloc(over === 0 ? 0 : blockBytes - over);
}

/** The header of an entry with everything that belongs in front of its content. Throws invalid argument for a name with NUL. */
export function tarHeader(entry: NewEntry): Buffer {
  const name = entryName(entry);
  const linkName = bytesOf(entry.linkName ?? '');
  if (name.includes(0) || linkName.includes(0)) throw invalidArgument('tar entry name with a NUL byte');
  const records = recordsFor(entry, name, linkName);
  const block = headerBlock(entry, flags[entry.type], name, linkName);
  if (records.size === 0) return block;
  const body = encodeRecords(records);
  const pax = headerBlock(
    { type: 'file', name: '', mode: 0o644, size: BigInt(body.length) },
    'x',
    paxName(name),
    Buffer.alloc(0),
  );
  return Buffer.concat([pax, body, tarPadding(BigInt(body.length)), block]);
}

function entryName(entry: NewEntry): Buffer {
  const name = bytesOf(entry.name);
  return entry.type === 'directory' && name.at(-1) !== slash ? Buffer.concat([name, Buffer.from('/')]) : name;
}

/** What does not fit the header block. */
function recordsFor(entry: NewEntry, name: Buffer, linkName: Buffer): ReadonlyMap<string, Buffer> {
  const records = new Map<string, Buffer>();
  const put = (keyword: string, value: bigint | string | Buffer): void => {
    records.set(keyword, typeof value === 'bigint' ? Buffer.from(String(value)) : bytesOf(value));
  };
  const { uid = 0, gid = 0, size = 0n, mtimeNs = 0n, atimeNs, ctimeNs, xattrs } = entry;
  if (splitName(name) === undefined || !isAscii(name)) put('path', name);
  if (linkName.length > 100 || !isAscii(linkName)) put('linkpath', linkName);
  if (BigInt(uid) > largestOctal8) put('uid', BigInt(uid));
  if (BigInt(gid) > largestOctal8) put('gid', BigInt(gid));
  if (size > largestOctal12) put('size', size);
  for (const [keyword, value = ''] of [
    ['uname', entry.userName],
    ['gname', entry.groupName],
  ] as const) {
    if (Buffer.byteLength(value) > 31 || !isAscii(Buffer.from(value))) put(keyword, value);
  }
  if (mtimeNs % nanosecondsPerSecond !== 0n || mtimeNs < 0n || mtimeNs / nanosecondsPerSecond > largestOctal12) {
    put('mtime', decimalTime(mtimeNs));
  }
  if (atimeNs !== undefined) put('atime', decimalTime(atimeNs));
  if (ctimeNs !== undefined) put('ctime', decimalTime(ctimeNs));
  for (const [keyword, value] of xattrs ?? []) {
    if (keyword.includes('=') || keyword.includes('\0'))
      throw invalidArgument(`extended attribute name ${JSON.stringify(keyword)}`);
    put(`SCHILY.xattr.${keyword}`, value);
  }
  return records;
}

function encodeRecords(records: ReadonlyMap<string, Buffer>): Buffer {
  const keywords = [...records.keys()].sort();
  return Buffer.concat(keywords.map((keyword) => encodeRecord(keyword, records.get(keyword) ?? Buffer.alloc(0))));
}

/** The length at the front counts its own digits. */
function encodeRecord(keyword: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${keyword}=`), value, Buffer.from('\n')]);
  let length = rest.length + String(rest.length).length;
  length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function headerBlock(entry: NewEntry, flag: string, name: Buffer, linkName: Buffer): Buffer {
  const block = Buffer.alloc(blockBytes);
  const { uid = 0, gid = 0, size = 0n, mtimeNs = 0n, deviceMajor = 0, deviceMinor = 0 } = entry;
  const [prefix, short] = splitName(name) ?? [Buffer.alloc(0), name.subarray(0, 100)];
  short.copy(block, 0);
  octal(block, 100, 8, BigInt(entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644)));
  octal(block, 108, 8, BigInt(uid));
  octal(block, 116, 8, BigInt(gid));
  octal(block, 124, 12, size);
  octal(block, 136, 12, mtimeNs < 0n ? 0n : mtimeNs / nanosecondsPerSecond);
  block.write(flag, 156, 'latin1');
  linkName.copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  block.write((entry.userName ?? '').slice(0, 31), 265, 'latin1');
  block.write((entry.groupName ?? '').slice(0, 31), 297, 'latin1');
  octal(block, 329, 8, BigInt(deviceMajor));
  octal(block, 337, 8, BigInt(deviceMinor));
  prefix.copy(block, 345);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Octal digits and a NUL; a number that does not fit is 0 here and stands in a PAX record. */
function octal(block: Buffer, offset: number, length: number, value: bigint): void {
  const digits = value.toString(8).padStart(length - 1, '0');
  block.write(digits.length < length ? digits : '0'.repeat(length - 1), offset, 'latin1');
}

/** ustar's way for names of up to 256 bytes: a prefix up to some slash, and the rest. Undefined when it does not fit. */
function splitName(name: Buffer): readonly [prefix: Buffer, short: Buffer] | undefined {
  if (name.length <= 100) return [Buffer.alloc(0), name];
  for (let at = name.indexOf(slash); at !== -1 && at <= 155; at = name.indexOf(slash, at + 1)) {
    const short = name.subarray(at + 1);
    if (at > 0 && short.length > 0 && short.length <= 100) return [name.subarray(0, at), short];
  }
  return undefined;
}

/** The name of the extended header itself: only old readers that do not know PAX ever see it. */
function paxName(name: Buffer): Buffer {
  const end = name.at(-1) === slash ? name.length - 1 : name.length;
  const base = name.subarray(name.lastIndexOf(slash, end - 1) + 1, end);
  return Buffer.concat([Buffer.from('PaxHeaders.0/'), isAscii(base) ? base.subarray(0, 80) : Buffer.from('entry')]);
}

function decimalTime(ns: bigint): string {
  const sign = ns < 0n ? '-' : '';
  const magnitude = ns < 0n ? -ns : ns;
  const fraction = String(magnitude % nanosecondsPerSecond)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${sign}${magnitude / nanosecondsPerSecond}${fraction === '' ? '' : `.${fraction}`}`;
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte < 0x80);
}

function bytesOf(text: string | Buffer): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : text;
}
