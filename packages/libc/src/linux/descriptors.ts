/** Descriptors over unix sockets: SCM_RIGHTS by sendmsg(2) and recvmsg(2) (unix(7), cmsg(3)). */
import { EAGAIN, EINVAL } from '../errno.ts';
import { addressOf, check, declare, errno, failure, interrupted, onPreload } from '../native.ts';
import type { ChannelCalls } from '../syscalls.ts';

const c = declare('glibc', {
  // ssize_t sendmsg(int fd, const struct msghdr *msg, int flags); msg and all it points to are ours
  sendmsg: 'long sendmsg(int fd, void *msg, int flags)',
  // ssize_t recvmsg(int fd, struct msghdr *msg, int flags); msg and all it points to are ours
  recvmsg: 'long recvmsg(int fd, void *msg, int flags)',
});

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const CMSG_HEADER_BYTES = 16;
const MAX_FDS = 16;
const SCRATCH_BYTES = 16 * 1024;
const CONTROL_BYTES = CMSG_HEADER_BYTES + MAX_FDS * 4;

/** One message's fixed structures, each at a known address. */
interface Envelope {
  /** struct msghdr, 56 bytes: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48. */
  readonly header: Buffer;
  /** struct iovec: base 0, length 8. */
  readonly vector: Buffer;
  /** struct cmsghdr: len 0, level 8, type 12; then the descriptors. Room for exactly 16 of them. */
  readonly control: Buffer;
  /** Where messages of usual size are received, before they are copied out. */
  readonly scratch: Buffer;
}

let envelope: Envelope | undefined;

function prepared(): Envelope {
  if (envelope === undefined) {
    const header = Buffer.alloc(56);
    const vector = Buffer.alloc(16);
    const control = Buffer.alloc(CONTROL_BYTES);
    header.writeBigUInt64LE(addressOf(vector), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(addressOf(control), 32);
    envelope = { header, vector, control, scratch: Buffer.alloc(SCRATCH_BYTES) };
  }
  return envelope;
}
onPreload(() => void prepared());

function fillVector(vector: Buffer, data: Buffer, length = data.length): void {
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(length), 8);
}

/**
 * The descriptors in what recvmsg left. The kernel installs no more than fit the control buffer (and says MSG_CTRUNC),
 * so that none can arrive that is not in this list.
 */
function receivedDescriptors({ header, control }: Envelope): number[] {
  const used = Number(header.readBigUInt64LE(40));
  const fds: number[] = [];
  for (let at = 0; at + CMSG_HEADER_BYTES <= used;) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < CMSG_HEADER_BYTES || at + length > used) break;
    if (control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS) {
      for (let fd = at + CMSG_HEADER_BYTES; fd + 4 <= at + length; fd += 4) fds.push(control.readInt32LE(fd));
    }
    at += (length + 7) & ~7;
  }
  return fds;
}

export const descriptorCalls: Pick<ChannelCalls, 'sendMessage' | 'receiveMessage'> = {
  sendMessage(fd, data, fds) {
    if (data.length === 0 || fds.length > MAX_FDS) throw failure('sendmsg', EINVAL, fd);
    const { header, vector, control } = prepared();
    fillVector(vector, data);
    const controlBytes = fds.length === 0 ? 0 : CMSG_HEADER_BYTES + fds.length * 4;
    if (controlBytes > 0) {
      control.writeBigUInt64LE(BigInt(controlBytes), 0);
      control.writeInt32LE(SOL_SOCKET, 8);
      control.writeInt32LE(SCM_RIGHTS, 12);
      for (const [index, sent] of fds.entries()) control.writeInt32LE(sent, CMSG_HEADER_BYTES + index * 4);
    }
    header.writeBigUInt64LE(BigInt(controlBytes), 40);
    let result: number;
    // No SIGPIPE: a peer that is gone is an EPIPE like any other failure.
    do result = c.sendmsg(fd, header, MSG_NOSIGNAL);
    while (interrupted(result));
    return check(result, 'sendmsg', fd);
  },

  receiveMessage(fd, maxBytes) {
    const message = prepared();
    const isUsual = maxBytes <= SCRATCH_BYTES;
    const data = isUsual ? message.scratch : Buffer.alloc(maxBytes);
    fillVector(message.vector, data, maxBytes);
    message.header.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
    let result: number;
    do result = c.recvmsg(fd, message.header, MSG_CMSG_CLOEXEC);
    while (interrupted(result));
    if (result < 0 && errno() === EAGAIN) return undefined;
    const length = check(result, 'recvmsg', fd);
    const received = data.subarray(0, length);
    return { data: isUsual ? Buffer.from(received) : received, fds: receivedDescriptors(message) };
  },
};
