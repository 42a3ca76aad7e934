import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { IN_CREATE, SOCK_STREAM } from './constants.ts';
import { watchReadable, watchWritable } from './event-loop.ts';
import { linux as sys } from './linux.ts';

const program = fileURLToPath(new URL('./test-programs/watching.js', import.meta.url));
const run = (scenario: string): { stdout: string; status: number | null } =>
  spawnSync(process.execPath, [program, scenario], { encoding: 'utf8', timeout: 20_000 });
const later = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Resolves when the descriptor is readable; ends the watch. */
function readable(fd: number): Promise<void> {
  return new Promise((resolve) => {
    const stop = watchReadable(fd, () => {
      stop();
      resolve();
    });
  });
}

t.test('an eventfd wakes the loop each time it is written', async (t) => {
  const fd = sys.eventfd(0);
  const value = Buffer.alloc(8);
  value.writeBigUInt64LE(2n);
  const seen: bigint[] = [];
  const stop = watchReadable(fd, () => {
    const into = Buffer.alloc(8);
    sys.read(fd, into);
    seen.push(into.readBigUInt64LE());
  });
  for (let i = 0; i < 3; i++) {
    sys.write(fd, value);
    while (seen.length <= i) await later(1);
  }
  stop();
  sys.write(fd, value);
  await later(20);
  t.same(seen, [2n, 2n, 2n]);
  stop();
  sys.close(fd);
});

t.test('a pidfd tells of a process that ended, however early', async (t) => {
  const child = spawn('sleep', ['0.05']);
  const exited = once(child, 'exit');
  const pidfd = sys.pidfdOpen(child.pid ?? -1);
  await readable(pidfd);
  t.same(await exited, [0, null]);
  sys.close(pidfd);
});

t.test('a pseudo terminal, a fifo and inotify are watched alike', async (t) => {
  const { master, slave } = sys.openPty();
  const typed = readable(slave);
  sys.write(master, Buffer.from('x\n'));
  await typed;
  const hangup = readable(master);
  sys.close(slave);
  await hangup;
  sys.close(master);

  const { readEnd, writeEnd } = sys.pipe2(0);
  const end = readable(readEnd);
  sys.close(writeEnd);
  await end;
  t.equal(sys.read(readEnd, Buffer.alloc(1)), 0);
  sys.close(readEnd);

  const dir = mkdtempSync(join(tmpdir(), 'gantry-libc-'));
  const inotify = sys.inotifyInit();
  sys.inotifyAddWatch(inotify, dir, IN_CREATE);
  const created = readable(inotify);
  writeFileSync(join(dir, 'x'), '');
  await created;
  sys.close(inotify);
  rmSync(dir, { recursive: true });
});

t.test('a descriptor closed after its watch can be used again at once', async (t) => {
  for (let round = 0; round < 50; round++) {
    const fd = sys.eventfd(1);
    let calls = 0;
    const stop = watchReadable(fd, () => calls++);
    stop();
    sys.close(fd);
    const again = sys.eventfd(1);
    t.equal(again, fd);
    await readable(again);
    t.equal(calls, 0);
    sys.close(again);
  }
});

t.test('several watches that are ready in one turn do not disturb each other', async (t) => {
  const fds = Array.from({ length: 20 }, () => sys.eventfd(1));
  const stops: (() => void)[] = [];
  const called: number[] = [];
  for (const fd of fds) {
    stops.push(
      watchReadable(fd, () => {
        called.push(fd);
        for (const stop of stops) stop();
      }),
    );
  }
  await later(50);
  t.equal(called.length, 1, 'the first one stopped all the others');
  for (const fd of fds) sys.close(fd);
});

t.test('one descriptor is watched for reading and for writing at the same time', async (t) => {
  const [a, b] = sys.socketpair(SOCK_STREAM);
  sys.setNonBlocking(a, true);
  const chunk = Buffer.alloc(65536);
  while (sys.write(a, chunk) !== undefined);
  const order: string[] = [];
  const stopReading = watchReadable(a, () => {
    order.push(`read ${sys.read(a, chunk)}`);
  });
  const stopWriting = watchWritable(a, () => {
    order.push('writable');
    stopWriting();
  });
  await later(20);
  t.same(order, [], 'full, and nothing to read');
  sys.write(b, Buffer.from('abc'));
  while (order.length < 1) await later(1);
  sys.setNonBlocking(b, true);
  while (sys.read(b, chunk) !== undefined);
  while (order.length < 2) await later(1);
  sys.write(b, Buffer.from('defg'));
  while (order.length < 3) await later(1);
  t.same(order, ['read 3', 'writable', 'read 4'], 'ending one watch leaves the other');
  stopReading();
  sys.close(a);
  sys.close(b);
});

t.test('the error of a pipe without a reader wakes its writer', async (t) => {
  const { readEnd, writeEnd } = sys.pipe2(0);
  sys.close(readEnd);
  await new Promise<void>((resolve) => {
    const stop = watchWritable(writeEnd, () => {
      stop();
      resolve();
    });
  });
  t.throws(() => sys.write(writeEnd, Buffer.from('x')), { code: 'EPIPE' });
  sys.close(writeEnd);
});

t.test('promises resolved in the callback go on', async (t) => {
  const fd = sys.eventfd(1);
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    const stop = watchReadable(fd, () => {
      stop();
      order.push('callback');
      process.nextTick(() => order.push('tick'));
      void Promise.resolve().then(() => order.push('promise'));
      setImmediate(resolve);
    });
  });
  t.same(order, ['callback', 'tick', 'promise']);
  sys.close(fd);
});

t.test('what cannot be watched is refused', async (t) => {
  t.throws(() => watchReadable(9999, () => undefined), { code: 'EBADF' });
  const fd = sys.eventfd(0);
  const stop = watchReadable(fd, () => undefined);
  t.throws(() => watchReadable(fd, () => undefined), { code: 'EEXIST' }, 'one watch a descriptor');
  stop();
  sys.close(fd);
});

t.test('an unreferenced watch does not keep the process alive', async (t) => {
  t.equal(run('unref').status, 0);
});

t.test('an exception in the callback is an uncaught exception', async (t) => {
  t.match(run('throwing'), { status: 0, stdout: 'caught oops' });
});

t.test('the process can exit with watches open', async (t) => {
  t.equal(run('exiting').status, 3);
});

t.test('watches leave no memory behind', async (t) => {
  const { status, stdout } = run('churn');
  t.equal(status, 0);
  t.ok(Number(stdout) < 30 * 1024 * 1024, `${stdout} bytes after ten thousand`);
});
