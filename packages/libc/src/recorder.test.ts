import t from 'tap';
import { linux } from './linux.ts';
import { ProcessGone, RecordingSyscalls } from './recorder.ts';
import { isErrno } from './syscall-error.ts';
import type { FileCalls, Syscalls } from './syscalls.ts';

t.test('the fake has every call the real one has', async (t) => {
  const fake: Syscalls = new RecordingSyscalls();
  for (const name of Object.keys(linux) as (keyof Syscalls)[]) t.equal(typeof fake[name], 'function', name);
});

t.test('calls are recorded in order with their arguments', async (t) => {
  const sys = new RecordingSyscalls();
  const fd = sys.openat(-100, '/a', 0);
  sys.mkdirat(fd, 'b', 0o755);
  sys.close(fd);
  t.same(sys.calls, [
    ['openat', -100, '/a', 0],
    ['mkdirat', fd, 'b', 0o755],
    ['close', fd],
  ]);
  t.same(sys.names(), ['openat', 'mkdirat', 'close']);
  t.same(sys.argumentsOf('mkdirat'), [[fd, 'b', 0o755]]);
});

t.test('a leaked descriptor is seen, a closed one is not', async (t) => {
  const sys = new RecordingSyscalls();
  const { readEnd } = sys.pipe2(0);
  const tree = sys.openTree(-100, '/', 1);
  sys.close(tree);
  sys.close(readEnd);
  t.same(sys.openDescriptors(), [{ fd: readEnd + 1, from: 'pipe2' }]);
  t.throws(() => sys.close(readEnd), { code: 'EBADF' }, 'closing twice is an error as in life');
});

t.test('the nth call fails with the errno it is told to fail with', async (t) => {
  const sys = new RecordingSyscalls().fail('moveMount', 2, 'EBUSY');
  sys.moveMount(3, '', -100, '/a', 4);
  t.throws(() => sys.moveMount(3, '', -100, '/b', 4), { code: 'EBUSY', errno: 16 });
  sys.moveMount(3, '', -100, '/c', 4);
  t.equal(sys.calls.length, 3, 'the failed call is recorded too');
});

t.test('answers can be fixed, taken in turn, and computed', async (t) => {
  const sys = new RecordingSyscalls()
    .answer('getpid', 1)
    .answerInTurn('clone', 0, 77)
    .play('readlinkat', (_, path) => Buffer.from(`to ${path.toString()}`));
  t.equal(sys.getpid(), 1);
  t.same([sys.clone(0), sys.clone(0)], [0, 77]);
  t.equal(sys.readlinkat(-100, 'x').toString(), 'to x');
});

t.test('execve and exitNow do not come back', async (t) => {
  const sys = new RecordingSyscalls();
  t.throws(() => sys.execve('/bin/true', [], []), ProcessGone);
  t.throws(() => sys.exitNow(3), /ended with status 3/);
});

t.test('the fake passes where a part of the interface is asked for', async (t) => {
  const copy = (sys: Pick<FileCalls, 'openat' | 'close'>): void => sys.close(sys.openat(-100, '/x', 0));
  const sys = new RecordingSyscalls().fail('openat', 1, 'ENOENT');
  t.throws(() => copy(sys), { code: 'ENOENT' });
  t.ok(isErrno(Object.assign(new Error('x'), { code: 'ENOENT' }), 'EPERM', 'ENOENT'));
});
