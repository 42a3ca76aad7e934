import t from 'tap';
import { failedPrecondition } from '@gantry/errors';
import { linux } from '@gantry/libc';
import { ChildChannel, Deadline, openChannel, ParentChannel } from './handshake.ts';

function pair(t: { teardown(done: () => void): void }) {
  const { parentFd, childFd } = openChannel(linux);
  const parent = new ParentChannel(linux, parentFd);
  let open = true;
  const hangUp = (): void => {
    if (open) linux.close(childFd);
    open = false;
  };
  // Never readable: stands for a child that lives.
  const pidfd = linux.eventfd(0);
  t.teardown(() => {
    hangUp();
    parent.close();
    linux.close(pidfd);
  });
  return {
    parent,
    child: new ChildChannel(linux, childFd),
    childFd,
    hangUp,
    receive: () => parent.receive(new Deadline(1000), pidfd),
    pidfd,
  };
}

t.test('messages arrive in order and whole, in both directions', (t) => {
  const { parent, child, receive } = pair(t);
  child.send({ kind: 'born', pid: 42 });
  child.send({ kind: 'ready' });
  t.same(receive(), { kind: 'born', pid: 42 });
  t.same(receive(), { kind: 'ready' });
  parent.send('proceed');
  child.expect('proceed');
  parent.send('start');
  t.throws(() => child.expect('mapped'), /expected mapped, got "start"/);
  t.end();
});

t.test('what came too early is given next, in its order', (t) => {
  const { parent, child, receive } = pair(t);
  child.send({ kind: 'ready' });
  child.send({ kind: 'hooks' });
  child.send({ kind: 'born', pid: 42 });
  child.send({ kind: 'created' });
  const early = [receive(), receive()];
  t.same(receive(), { kind: 'born', pid: 42 });
  parent.keep(early);
  t.same([receive(), receive(), receive()], [{ kind: 'ready' }, { kind: 'hooks' }, { kind: 'created' }]);
  t.end();
});

t.test('an error keeps its class and its sentence, which is cut when it is very long', (t) => {
  const { child, receive } = pair(t);
  child.sendError(failedPrecondition('no such thing'));
  t.throws(receive, { code: 'failed precondition', message: 'no such thing' });
  child.sendError(new Error('x'.repeat(100_000)));
  t.throws(receive, { code: 'unknown', message: /^x{4000}$/ });
  t.end();
});

t.test('a descriptor travels with console and only with it', (t) => {
  const { child, receive } = pair(t);
  const fd = linux.eventfd(7);
  child.send({ kind: 'console' }, [fd]);
  const message = receive();
  t.equal(message.kind, 'console');
  if (message.kind === 'console') linux.close(message.master);
  child.send({ kind: 'console' });
  t.throws(receive, /without its descriptor/);
  child.send({ kind: 'ready' }, [fd]);
  t.same(receive(), { kind: 'ready' });
  linux.close(fd);
  t.end();
});

t.test('what a hostile child might say is refused', (t) => {
  const { childFd, receive } = pair(t);
  for (const text of [
    'nonsense',
    '[]',
    'null',
    '{}',
    '{"kind":"born"}',
    '{"kind":"born","pid":-1}',
    '{"kind":"born","pid":1.5}',
    '{"kind":"other"}',
  ]) {
    linux.sendMessage(childFd, Buffer.from(text), []);
    t.throws(receive, /message/, text);
  }
  t.end();
});

t.test('the end of either side is seen by the other', (t) => {
  const { parent, child, hangUp, receive } = pair(t);
  hangUp();
  t.same(receive(), { kind: 'eof' });
  parent.send('start');
  t.equal(parent.isOpen, true);
  parent.close();
  parent.close();
  t.equal(parent.isOpen, false);
  t.throws(() => child.expect('start'));
  t.end();
});

t.test('a child that ends without reading is an end of file, after its last words', (t) => {
  const { parent, child, hangUp, receive } = pair(t);
  child.sendError(failedPrecondition('last words'));
  parent.send('start');
  hangUp();
  t.throws(receive, { message: 'last words' });
  t.same(receive(), { kind: 'eof' });
  t.end();
});

t.test('waiting has an end', (t) => {
  const { parent, pidfd } = pair(t);
  t.throws(() => parent.receive(new Deadline(20), pidfd), { code: 'deadline exceeded' });
  t.end();
});
