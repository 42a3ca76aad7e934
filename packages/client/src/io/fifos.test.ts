import t from 'tap';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  readSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Fifos, removeFifosOf } from './fifos.ts';

function ownRoot(t: { teardown: (done: () => void) => void }): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-fifos-'));
  process.env['GANTRY_FIFO_DIR'] = dir;
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

t.test('output is read to its end, and the pipes are private and removed', async (t) => {
  const root = ownRoot(t);
  const fifos = Fifos.create({ id: 'web', stdin: false, terminal: false });
  t.equal(path.dirname(path.dirname(fifos.paths.stdout)), root);
  t.equal(statSync(path.dirname(fifos.paths.stdout)).mode & 0o777, 0o700);
  t.equal(fifos.paths.stdin, '');
  const writer = openSync(fifos.paths.stdout, constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(writer, 'hello');
  closeSync(writer);
  let text = '';
  for await (const chunk of fifos.stdout) text += String(chunk);
  t.equal(text, 'hello');
  fifos.close();
  fifos.close();
  t.notOk(existsSync(path.dirname(fifos.paths.stdout)));
});

t.test('no end-of-file is seen before the first writer has come', async (t) => {
  ownRoot(t);
  const fifos = Fifos.create({ id: 'web', stdin: false, terminal: true });
  t.equal(fifos.paths.stderr, '', 'a terminal has no stderr');
  let ended = false;
  fifos.stdout.resume().once('end', () => {
    ended = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.notOk(ended);
  const writer = openSync(fifos.paths.stdout, constants.O_WRONLY | constants.O_NONBLOCK);
  closeSync(writer);
  await once(fifos.stdout, 'close');
  t.ok(ended);
  fifos.close();
});

t.test('input reaches the reader, which sees its end when stdin is ended', async (t) => {
  ownRoot(t);
  const fifos = Fifos.create({ id: 'web', stdin: true, terminal: false });
  const reader = openSync(fifos.paths.stdin, constants.O_RDONLY | constants.O_NONBLOCK);
  fifos.connectStdin();
  fifos.stdin?.end('data');
  if (fifos.stdin !== undefined) await once(fifos.stdin, 'close');
  const buffer = Buffer.alloc(10);
  t.equal(buffer.toString('utf8', 0, readSync(reader, buffer)), 'data');
  t.equal(readSync(reader, buffer), 0, 'end of file');
  closeSync(reader);
  fifos.close();
});

t.test('a process that has no stdin open any more is no failure', (t) => {
  ownRoot(t);
  const fifos = Fifos.create({ id: 'web', stdin: true, terminal: false });
  fifos.connectStdin();
  fifos.close();
  t.end();
});

t.test('drained gives up on a pipe that somebody holds open in silence', async (t) => {
  ownRoot(t);
  const fifos = Fifos.create({ id: 'web', stdin: false, terminal: true });
  const holder = openSync(fifos.paths.stdout, constants.O_WRONLY | constants.O_NONBLOCK);
  fifos.stdout.resume();
  writeSync(holder, 'x');
  await fifos.drained(30);
  closeSync(holder);
  fifos.close();
});

t.test("a task's pipes are removed by path, and nothing else ever is", (t) => {
  const root = ownRoot(t);
  // Everything happens below one scratch directory: a mistake here must not reach beyond it.
  const inner = path.join(root, 'fifos');
  process.env['GANTRY_FIFO_DIR'] = inner;
  const fifos = Fifos.create({ id: 'web', stdin: false, terminal: true });
  fifos.detach();
  const bystander = path.join(root, 'bystander');
  const neighbour = path.join(path.dirname(fifos.paths.stdout), 'neighbour');
  writeFileSync(bystander, '');
  writeFileSync(neighbour, '');
  removeFifosOf('');
  removeFifosOf(`${inner}/../stdout`);
  removeFifosOf(`${inner}/x/../../bystander`);
  removeFifosOf(bystander);
  t.ok(existsSync(fifos.paths.stdout) && existsSync(bystander) && existsSync(neighbour));
  removeFifosOf(fifos.paths.stdout);
  t.notOk(existsSync(fifos.paths.stdout));
  t.ok(existsSync(neighbour), 'what this client did not make stays');
  t.end();
});

t.test('closing pipes of another client does not remove them', (t) => {
  const root = ownRoot(t);
  const theirs = Fifos.create({ id: 'web', stdin: false, terminal: true });
  theirs.detach();
  process.env['GANTRY_FIFO_DIR'] = path.join(root, 'elsewhere');
  Fifos.reopen(theirs.paths).close();
  t.ok(existsSync(theirs.paths.stdout));
  t.end();
});
