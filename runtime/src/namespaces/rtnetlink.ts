/**
 * The part of rtnetlink(7) that moving a network device needs: messages with attributes, and their answers.
 *
 *   length u32 · type u16 · flags u16 · sequence u32 · port u32      a message's head, then
 *   struct ifinfomsg or ifaddrmsg                                    what it is about, then
 *   length u16 · type u16 · value, padded to four bytes              its attributes
 */
import { internal } from '@gantry/errors';
import { errnoDescription, errnoName, SyscallError } from '@gantry/libc';
import type { ChannelCalls, FileCalls } from '@gantry/libc';

export type RouteCalls = Pick<ChannelCalls, 'routeSocket' | 'sendMessage' | 'receiveMessage'> &
  Pick<FileCalls, 'close'>;

export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_GETADDR = 22;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
export const IFLA_IFNAME = 3;
export const IFLA_NET_NS_FD = 28;
export const IFF_UP = 1;
export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_BROADCAST = 4;
export const IFA_FLAGS = 8;
export const IFA_F_PERMANENT = 0x80;

const NLM_F_REQUEST = 0x1;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEAD_BYTES = 16;
const LINK_BYTES = 16;
const ADDRESS_BYTES = 8;
const ATTRIBUTE_HEAD_BYTES = 4;
/** More than the kernel puts into one answer. */
const MAX_ANSWER_BYTES = 64 * 1024;

export interface Attribute {
  readonly type: number;
  readonly value: Buffer;
}

export interface Link {
  readonly index: number;
  readonly flags: number;
}

/** A socket in the network namespace in which it was made; to be closed. */
export class RouteSocket {
  readonly #sys: RouteCalls;
  readonly #fd: number;
  #sequence = 0;

  constructor(sys: RouteCalls) {
    this.#sys = sys;
    this.#fd = sys.routeSocket();
  }

  /** Sends one request and returns the bodies of all answers. Throws the kernel's error as a `SyscallError`. */
  request(type: number, flags: number, body: Buffer, subject: string): Buffer[] {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(HEAD_BYTES + body.length, 0);
    head.writeUInt16LE(type, 4);
    head.writeUInt16LE(flags | NLM_F_REQUEST, 6);
    head.writeUInt32LE(++this.#sequence, 8);
    this.#sys.sendMessage(this.#fd, Buffer.concat([head, body]), []);
    const bodies: Buffer[] = [];
    for (;;) {
      const answer = this.#sys.receiveMessage(this.#fd, MAX_ANSWER_BYTES)?.data ?? Buffer.alloc(0);
      if (answer.length === 0) throw internal('netlink: no answer');
      for (let at = 0; at + HEAD_BYTES <= answer.length;) {
        const length = answer.readUInt32LE(at);
        const kind = answer.readUInt16LE(at + 4);
        const isOurs = answer.readUInt32LE(at + 8) === this.#sequence;
        const content = answer.subarray(at + HEAD_BYTES, at + length);
        at += padded(Math.max(length, HEAD_BYTES));
        if (!isOurs) continue;
        if (kind === NLMSG_DONE) return bodies;
        if (kind === NLMSG_ERROR) {
          const errno = -content.readInt32LE(0);
          if (errno === 0) return bodies;
          throw new SyscallError('netlink', errno, errnoName(errno), errnoDescription(errno), subject);
        }
        bodies.push(content);
        if ((flags & (NLM_F_DUMP | NLM_F_ACK)) === 0) return bodies;
      }
    }
  }

  close(): void {
    this.#sys.close(this.#fd);
  }
}

/** struct ifinfomsg with attributes; `change` are the bits of `flags` that count. */
export function linkMessage(link: Link & { readonly change?: number }, attributes: readonly Attribute[] = []): Buffer {
  const head = Buffer.alloc(LINK_BYTES);
  head.writeInt32LE(link.index, 4);
  head.writeUInt32LE(link.flags, 8);
  head.writeUInt32LE(link.change ?? 0, 12);
  return Buffer.concat([head, ...attributes.map(encode)]);
}

export function parseLink(body: Buffer): Link {
  return { index: body.readInt32LE(4), flags: body.readUInt32LE(8) };
}

/** struct ifaddrmsg. */
export interface Address {
  readonly family: number;
  readonly prefixLength: number;
  readonly flags: number;
  /** 0 is everywhere, 253 the link, 254 the host. */
  readonly scope: number;
  readonly index: number;
  readonly attributes: readonly Attribute[];
}

export function addressMessage(address: Address): Buffer {
  const { family, prefixLength, flags, scope, index, attributes } = address;
  const head = Buffer.from([family, prefixLength, flags & 0xff, scope, 0, 0, 0, 0]);
  head.writeUInt32LE(index, 4);
  return Buffer.concat([head, ...attributes.map(encode)]);
}

export function parseAddress(body: Buffer): Address {
  const attributes = parseAttributes(body.subarray(ADDRESS_BYTES));
  const wide = attributes.find(({ type }) => type === IFA_FLAGS)?.value;
  return {
    family: body.readUInt8(0),
    prefixLength: body.readUInt8(1),
    flags: wide === undefined ? body.readUInt8(2) : wide.readUInt32LE(0),
    scope: body.readUInt8(3),
    index: body.readUInt32LE(4),
    attributes,
  };
}

export function textAttribute(type: number, text: string): Attribute {
  return { type, value: Buffer.from(`${text}\0`) };
}

export function numberAttribute(type: number, number: number): Attribute {
  const value = Buffer.alloc(4);
  value.writeUInt32LE(number);
  return { type, value };
}

function encode({ type, value }: Attribute): Buffer {
  const bytes = Buffer.alloc(padded(ATTRIBUTE_HEAD_BYTES + value.length));
  bytes.writeUInt16LE(ATTRIBUTE_HEAD_BYTES + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, ATTRIBUTE_HEAD_BYTES);
  return bytes;
}

function parseAttributes(bytes: Buffer): Attribute[] {
  const found: Attribute[] = [];
  for (let at = 0; at + ATTRIBUTE_HEAD_BYTES <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_HEAD_BYTES) break;
    found.push({
      type: bytes.readUInt16LE(at + 2) & 0x3fff,
      value: bytes.subarray(at + ATTRIBUTE_HEAD_BYTES, at + length),
    });
    at += padded(length);
  }
  return found;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
