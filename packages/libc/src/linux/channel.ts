/** Sockets, descriptors over sockets, readiness, and the small calls around them. */
import { monotonicMs } from '../clock.ts';
import { AF_UNIX_PATH_BYTES, SOCK_DGRAM, SOCK_STREAM } from '../constants/poll.ts';
import { EAGAIN, EINVAL, ENAMETOOLONG } from '../errno.ts';
import { check, cString, declare, errno, failure, interrupted } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import type { ChannelCalls } from '../syscalls.ts';
import { closeQuietly } from './close-quietly.ts';

const c = declare('glibc', {
  socket: 'int socket(int domain, int type, int protocol)',
  // int socketpair(int domain, int type, int protocol, int fds[2]); fds is ours
  socketpair: 'int socketpair(int domain, int type, int protocol, void *fds)',
  // int connect(int fd, const struct sockaddr *addr, socklen_t len); addr is ours
  connect: 'int connect(int fd, void *addr, uint len)',
  // int bind(int fd, const struct sockaddr *addr, socklen_t len); addr is ours
  bind: 'int bind(int fd, void *addr, uint len)',
  listen: 'int listen(int fd, int backlog)',
  // int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags); addr and len null
  accept: 'int accept4(int fd, void *addr, void *len, int flags)',
  // int getsockopt(int fd, int level, int name, void *value, socklen_t *len); both ours
  getsockopt: 'int getsockopt(int fd, int level, int name, void *value, void *len)',
  // int poll(struct pollfd *fds, nfds_t n, int timeout_ms); fds is ours, 8 bytes each
  poll: 'int poll(void *fds, ulong n, int timeout_ms)',
  eventfd: 'int eventfd(uint initial, int flags)',
  inotifyInit: 'int inotify_init1(int flags)',
  inotifyAddWatch: 'int inotify_add_watch(int fd, const char *path, uint mask)',
  // int ioctl(int fd, unsigned long request, struct ifreq *); ours, 40 bytes
  ioctl: 'int ioctl(int fd, ulong request, void *arg)',
  // long syscall(SYS_bpf, int cmd, union bpf_attr *attr, unsigned size); attr is the caller's
  bpf: 'long syscall(long nr, int cmd, void *attr, uint size)',
  // ssize_t getrandom(void *buf, size_t size, unsigned flags); buf is ours
  getrandom: 'long getrandom(void *buf, size_t size, uint flags)',
});

const AF_UNIX = 1;
const AF_INET = 2;
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;
const IN_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 0x1;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;
const POLLFD_BYTES = 8;
const LISTEN_BACKLOG = 16;

const pair = Buffer.alloc(8);
const interfaceRequest = Buffer.alloc(IFREQ_BYTES);
/** For the usual calls with one or two descriptors. */
const fewPolled = Buffer.alloc(4 * POLLFD_BYTES);

type Calls = Pick<
  ChannelCalls,
  | 'socketpair'
  | 'connectUnix'
  | 'listenUnix'
  | 'routeSocket'
  | 'accept'
  | 'poll'
  | 'eventfd'
  | 'inotifyInit'
  | 'inotifyAddWatch'
  | 'linkUp'
  | 'bpf'
  | 'getrandom'
  | 'peerCredentials'
>;

/** struct sockaddr_un: family, then the path ended by a NUL. */
function unixAddress(path: string): Buffer {
  const name = Buffer.from(cString(path, 'connect'));
  if (name.length > AF_UNIX_PATH_BYTES) throw failure('connect', ENAMETOOLONG, path);
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX);
  name.copy(address, 2);
  return address;
}

export const channelCalls: Calls = {
  socketpair(type) {
    check(c.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 'socketpair', '');
    return [pair.readInt32LE(0), pair.readInt32LE(4)];
  },

  connectUnix(path, type = SOCK_STREAM) {
    const address = unixAddress(path);
    const fd = check(c.socket(AF_UNIX, type | SOCK_CLOEXEC, 0), 'socket', path);
    try {
      // A unix socket that was interrupted has not begun to connect, so making the call again is right.
      let result: number;
      do result = c.connect(fd, address, address.length);
      while (interrupted(result));
      check(result, 'connect', path);
      return fd;
    } catch (err) {
      closeQuietly(fd);
      throw err;
    }
  },

  listenUnix(path, type) {
    const address = unixAddress(path);
    const fd = check(c.socket(AF_UNIX, type | SOCK_CLOEXEC, 0), 'socket', path);
    try {
      check(c.bind(fd, address, address.length), 'bind', path);
      // Datagrams come without a connection.
      if (type !== SOCK_DGRAM) check(c.listen(fd, LISTEN_BACKLOG), 'listen', path);
      return fd;
    } catch (err) {
      closeQuietly(fd);
      throw err;
    }
  },

  routeSocket: () => check(c.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), 'socket', 'netlink'),

  accept(fd) {
    let result: number;
    do result = c.accept(fd, null, null, SOCK_CLOEXEC);
    while (interrupted(result));
    return check(result, 'accept4', fd);
  },

  poll(entries, timeoutMs) {
    const bytes = entries.length * POLLFD_BYTES;
    const fds = bytes <= fewPolled.length ? fewPolled : Buffer.alloc(bytes);
    for (const [index, { fd, events }] of entries.entries()) {
      fds.writeInt32LE(fd, index * POLLFD_BYTES);
      fds.writeInt16LE(events, index * POLLFD_BYTES + 4);
      fds.writeInt16LE(0, index * POLLFD_BYTES + 6);
    }
    const deadline = monotonicMs() + timeoutMs;
    let remaining = Math.ceil(timeoutMs);
    for (;;) {
      const result = c.poll(fds, entries.length, remaining);
      if (!interrupted(result)) {
        check(result, 'poll', `${entries.length} fds`);
        break;
      }
      if (timeoutMs >= 0) remaining = Math.max(0, Math.ceil(deadline - monotonicMs()));
    }
    return entries.map((_, index) => fds.readInt16LE(index * POLLFD_BYTES + 6));
  },

  eventfd: (initial) => check(c.eventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd', ''),

  inotifyInit: () => check(c.inotifyInit(IN_CLOEXEC | IN_NONBLOCK), 'inotify_init1', ''),

  inotifyAddWatch: (fd, path, mask) =>
    check(c.inotifyAddWatch(fd, cString(path, 'inotify_add_watch'), mask), 'inotify_add_watch', path),

  linkUp(name) {
    const bytes = Buffer.from(cString(name, 'ioctl'));
    if (bytes.length >= IFNAMSIZ) throw failure('ioctl', EINVAL, name);
    const request = interfaceRequest.fill(0);
    bytes.copy(request);
    const fd = check(c.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket', name);
    try {
      check(c.ioctl(fd, SIOCGIFFLAGS, request), 'ioctl', name);
      request.writeInt16LE(request.readInt16LE(IFNAMSIZ) | IFF_UP, IFNAMSIZ);
      check(c.ioctl(fd, SIOCSIFFLAGS, request), 'ioctl', name);
    } finally {
      closeQuietly(fd);
    }
  },

  bpf(command, attr) {
    let result: number;
    // BPF_PROG_LOAD answers EAGAIN when a signal interrupted the verifier.
    let attempts = 0;
    do result = c.bpf(NR.bpf, command, attr, attr.length);
    while (interrupted(result) || (result < 0 && errno() === EAGAIN && ++attempts < 5));
    return check(result, 'bpf', `command ${command}`);
  },

  getrandom(bytes) {
    const buffer = Buffer.alloc(bytes);
    for (let done = 0; done < bytes;) {
      const result = c.getrandom(buffer.subarray(done), bytes - done, 0);
      if (!interrupted(result)) done += check(result, 'getrandom', `${bytes} bytes`);
    }
    return buffer;
  },

  peerCredentials(fd) {
    const value = Buffer.alloc(12);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(value.length);
    check(c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length), 'getsockopt', fd);
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
  },
};
