import { spawnSync } from 'node:child_process';
import { fstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AT_FDCWD, POLLHUP, POLLIN, POLLOUT, SOCK_SEQPACKET, SOCK_STREAM } from '../constants.ts';
import { linux as sys } from '../linux.ts';

const openCount = (): number => readdirSync('/proc/self/fd').length;

t.test('descriptors travel over a socket and are the same files on the other side', async (t) => {
  const [a, b] = sys.socketpair(SOCK_STREAM);
  const { readEnd, writeEnd } = sys.pipe2(0);
  t.equal(sys.sendMessage(a, Buffer.from('take these'), [readEnd, writeEnd]), 10);
  const message = sys.receiveMessage(b, 100);
  t.equal(message?.data.toString(), 'take these');
  const [first, second] = message?.fds ?? [];
  t.equal(fstatSync(first ?? -1).ino, fstatSync(readEnd).ino);
  t.match(readFileSync(`/proc/self/fdinfo/${first}`, 'utf8'), /^flags:\s+02000000/m, 'close-on-exec');
  sys.write(writeEnd, Buffer.from('through'));
  const into = Buffer.alloc(10);
  t.equal(sys.read(first ?? -1, into), 7);
  for (const fd of [a, readEnd, writeEnd, first, second]) sys.close(fd ?? -1);
  t.equal(sys.receiveMessage(b, 10)?.data.length, 0, 'the end of the stream');
  sys.close(b);
});

t.test('sixteen descriptors are the most, in both directions', async (t) => {
  const [a, b] = sys.socketpair(SOCK_SEQPACKET);
  const before = openCount();
  t.throws(
    () =>
      sys.sendMessage(
        a,
        Buffer.from('x'),
        Array.from({ length: 17 }, () => 0),
      ),
    { code: 'EINVAL' },
  );
  t.throws(() => sys.sendMessage(a, Buffer.alloc(0), [0]), { code: 'EINVAL' });
  sys.sendMessage(
    a,
    Buffer.from('x'),
    Array.from({ length: 16 }, () => 0),
  );
  const { fds } = sys.receiveMessage(b, 10) ?? { fds: [] };
  t.equal(fds.length, 16);
  for (const fd of fds) sys.close(fd);
  t.equal(openCount(), before);
  sys.close(a);
  sys.close(b);
});

const withPython = spawnSync('python3', ['-V']).status === 0 ? {} : { skip: 'needs python3 to send more than sixteen' };

t.test('descriptors beyond sixteen that a stranger sends are not installed', withPython, async (t) => {
  const [a, b] = sys.socketpair(SOCK_STREAM);
  t.teardown(() => [a, b].forEach((fd) => sys.close(fd)));
  const script = 'import socket; socket.send_fds(socket.socket(fileno=3), [b"x"], [0] * 40)';
  const sender = spawnSync('python3', ['-c', script], { stdio: ['ignore', 'ignore', 'ignore', a] });
  t.equal(sender.status, 0);
  const before = openCount();
  const { fds } = sys.receiveMessage(b, 10) ?? { fds: [] };
  t.equal(fds.length, 16);
  for (const fd of fds) sys.close(fd);
  t.equal(openCount(), before);
});

t.test('an empty non-blocking socket has no message', async (t) => {
  const [a, b] = sys.socketpair(SOCK_STREAM);
  sys.setNonBlocking(b, true);
  t.equal(sys.receiveMessage(b, 10), undefined);
  sys.close(a);
  t.throws(() => sys.sendMessage(b, Buffer.from('x'), []), { code: 'EPIPE' }, 'and no SIGPIPE');
  sys.close(b);
});

t.test('a unix socket is connected to and names its peer', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-libc-'));
  const path = join(dir, 'socket');
  const server = createServer((socket) => socket.end('hello'));
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  t.teardown(() => {
    server.close();
    rmSync(dir, { recursive: true });
  });
  const fd = sys.connectUnix(path);
  t.same(sys.peerCredentials(fd), { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  await new Promise((resolve) => void setTimeout(resolve, 50));
  t.equal(sys.receiveMessage(fd, 10)?.data.toString(), 'hello');
  sys.close(fd);
  const before = openCount();
  t.throws(() => sys.connectUnix(join(dir, 'nobody')), { code: 'ENOENT', syscall: 'connect' });
  t.throws(() => sys.connectUnix(`/${'x'.repeat(107)}`), { code: 'ENAMETOOLONG' });
  t.equal(openCount(), before, 'nothing is left open');
});

t.test('poll tells what is ready and when time is over', async (t) => {
  const [a, b] = sys.socketpair(SOCK_STREAM);
  const entries = [
    { fd: a, events: POLLIN },
    { fd: b, events: POLLOUT },
    { fd: -1, events: POLLIN },
  ];
  t.same(sys.poll(entries, 1000), [0, POLLOUT, 0]);
  const start = performance.now();
  t.same(sys.poll([{ fd: a, events: POLLIN }], 30), [0]);
  t.ok(performance.now() - start >= 29);
  sys.close(b);
  t.same(sys.poll([{ fd: a, events: POLLIN }], -1), [POLLIN | POLLHUP]);
  sys.close(a);
});

t.test('an eventfd counts', async (t) => {
  const fd = sys.eventfd(3);
  const value = Buffer.alloc(8);
  t.equal(sys.read(fd, value), 8);
  t.equal(value.readBigUInt64LE(), 3n);
  t.equal(sys.read(fd, value), undefined);
  sys.close(fd);
});

t.test('inotify reports what happens in a directory', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-libc-'));
  const fd = sys.inotifyInit();
  t.ok(sys.inotifyAddWatch(fd, dir, 0x100) > 0);
  sys.close(sys.openat(AT_FDCWD, join(dir, 'new'), 0o101, 0o600));
  const event = Buffer.alloc(512);
  t.ok((sys.read(fd, event) ?? 0) > 16);
  t.equal(event.toString('latin1', 16, 19), 'new');
  t.throws(() => sys.inotifyAddWatch(fd, join(dir, 'nowhere'), 1), { code: 'ENOENT' });
  sys.close(fd);
  rmSync(dir, { recursive: true });
});

t.test('random bytes come in the number asked for', async (t) => {
  const bytes = sys.getrandom(100);
  t.equal(bytes.length, 100);
  t.ok(new Set(bytes).size > 20);
});

t.test('a failing bpf names itself', async (t) => {
  t.throws(() => sys.bpf(9999, Buffer.alloc(16)), /, bpf 'command 9999'$/);
});

t.test('an interface that does not exist cannot be brought up', async (t) => {
  const before = openCount();
  t.throws(() => sys.linkUp('gantry-none'), { code: 'ENODEV' });
  t.throws(() => sys.linkUp('a-name-of-far-too-many-letters'), { code: 'EINVAL' });
  t.equal(openCount(), before);
});
