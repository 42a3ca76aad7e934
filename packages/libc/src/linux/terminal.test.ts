import { readdirSync } from 'node:fs';
import t from 'tap';
import { linux as sys } from '../linux.ts';

const text = (fd: number): string => {
  const bytes = Buffer.alloc(100);
  return bytes.toString('utf8', 0, sys.read(fd, bytes) ?? 0);
};

t.test('what is typed at the master arrives at the slave, and back', async (t) => {
  const before = readdirSync('/proc/self/fd').length;
  const { master, slave, number } = sys.openPty();
  t.ok(sys.isTerminal(master) && sys.isTerminal(slave));
  t.ok(readdirSync('/dev/pts').includes(String(number)));
  sys.write(master, Buffer.from('line\n'));
  t.equal(text(slave), 'line\n');
  t.equal(text(master), 'line\r\n', 'cooked: echoed with a carriage return');

  const earlier = sys.makeRaw(slave);
  sys.write(master, Buffer.from('\x03k'));
  t.equal(text(slave), '\x03k', 'raw: no signal, no line to wait for');
  sys.write(slave, Buffer.from('out\n'));
  t.equal(text(master), 'out\n', 'raw: nothing is added, nothing was echoed');

  sys.restoreTerminal(slave, earlier);
  sys.write(slave, Buffer.from('out\n'));
  t.equal(text(master), 'out\r\n');
  sys.close(slave);
  sys.close(master);
  t.equal(readdirSync('/proc/self/fd').length, before);
});

t.test('the window size set at the master is seen at the slave', async (t) => {
  const { master, slave } = sys.openPty();
  sys.setTerminalSize(master, { columns: 132, rows: 43 });
  t.same(sys.getTerminalSize(slave), { columns: 132, rows: 43 });
  sys.close(slave);
  t.throws(() => text(master), { code: 'EIO' }, 'the master of a closed slave');
  sys.close(master);
});

t.test('what is no terminal is refused', async (t) => {
  const { readEnd, writeEnd } = sys.pipe2(0);
  t.equal(sys.isTerminal(readEnd), false);
  t.throws(() => sys.makeRaw(readEnd), { code: 'ENOTTY' });
  t.throws(() => sys.openPty('/dev/null'), { code: 'ENOTTY' });
  sys.close(readEnd);
  sys.close(writeEnd);
});
