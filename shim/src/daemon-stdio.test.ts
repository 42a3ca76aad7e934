/** Stdio through a real shim process: fifos, log files, terminals. */
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import { reader, until } from './testing/client-double.ts';
import { cannotRunContainers, Place } from './testing/shim-under-test.ts';

const why = cannotRunContainers();
const options = why === undefined ? { timeout: 60_000 } : { skip: why };
const place = new Place();
t.teardown(async () => await place.remove());

const { O_WRONLY, O_NONBLOCK } = constants;
const SIGKILL = 9;
const sleeper = ['/bin/sh', '-c', 'trap "exit 7" TERM; while true; do sleep 0.05; done'];

t.test('output goes to the fifos of the client, and ends with the process', options, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'echo out; echo err >&2; echo again > /dev/stdout'] });
  const stdio = shim.fifos();
  const stdout = reader(stdio.stdout);
  const stderr = reader(stdio.stderr);
  await shim.create({ ...stdio, stdin: '' });
  await shim.begin();
  await shim.wait();
  t.match(await stdout.ended, /^out\n/);
  t.match(await stderr.ended, /^err\n/);
  t.equal(await shim.finish(), 0);
});

t.test('a client that opens its end after the exit still gets everything', options, async (t) => {
  const shim = await place.start({ args: ['/bin/echo', 'late'] });
  const stdio = shim.fifos();
  await shim.run({ ...stdio, stdin: '', stderr: '' });
  await shim.wait();
  t.equal(await reader(stdio.stdout).ended, 'late\n');
  t.equal(await shim.finish(), 0);
});

t.test('a megabyte goes through a fifo unharmed', options, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'head -c 1000000 /dev/zero | tr "\\0" x'] });
  const stdio = shim.fifos();
  const stdout = reader(stdio.stdout);
  await shim.run({ ...stdio, stdin: '', stderr: '' });
  const text = await stdout.ended;
  t.equal(text.length, 1_000_000);
  t.match(text.slice(-10), 'xxxxxxxxxx');
  t.equal((await shim.wait()).exitStatus, 0);
  t.equal(await shim.finish(), 0);
});

t.test('stdin reaches the process, and ends only after CloseIO', options, async (t) => {
  const shim = await place.start({ args: ['/bin/cat'] });
  const stdio = shim.fifos();
  const stdout = reader(stdio.stdout);
  await shim.run({ ...stdio, stderr: '' });
  for (const text of ['first ', 'second']) {
    const client = openSync(stdio.stdin, O_WRONLY | O_NONBLOCK);
    writeSync(client, text);
    closeSync(client);
    await until(`cat says ${text}`, () => stdout.text().endsWith(text));
  }
  t.equal((await shim.state()).status, 2, 'the client may close and come back');
  await shim.closeStdin();
  t.equal((await shim.wait()).exitStatus, 0);
  t.equal(await stdout.ended, 'first second');
  t.equal(await shim.finish(), 0);
});

t.test('a log file takes both streams', options, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'echo out; echo err >&2'] });
  const path = join(shim.bundle, 'logs', 'container.log');
  await shim.run({ stdin: '', stdout: `file://${path}`, stderr: '' });
  await shim.wait();
  t.equal(readFileSync(path, 'utf8'), 'out\nerr\n');
  t.equal(await shim.finish(), 0);
});

t.test('a logging program gets both streams and ends with them', options, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'echo out; echo err >&2'] });
  const script = '/bin/cat <&3 >got-out & /bin/cat <&4 >got-err; echo "$CONTAINER_ID" >got-id';
  const stdout = `binary:///bin/sh?-c=${encodeURIComponent(`exec 5>&-; ${script}`)}`;
  await shim.run({ stdin: '', stdout, stderr: stdout });
  await shim.wait();
  await until('the program has ended', () => existsSync(join(shim.bundle, 'got-id')));
  const got = ['out', 'err', 'id'].map((name) => readFileSync(join(shim.bundle, `got-${name}`), 'utf8'));
  t.same(got, ['out\n', 'err\n', `${shim.id}\n`]);
  t.equal(await shim.finish(), 0);
});

t.test('a logging program that cannot be run fails the create', options, async (t) => {
  const shim = await place.start({ args: ['/bin/true'] });
  await t.rejects(shim.create({ stdin: '', stdout: 'binary:///no/such/logger', stderr: '' }), {
    message: /logging program "\/no\/such\/logger": ENOENT/,
  });
  await shim.shutdown();
  t.equal(await shim.exited, 0);
});

t.test('a terminal carries input, output and its size', options, async (t) => {
  const shim = await place.start({
    args: ['/bin/sh', '-c', 'read x; stty size; echo "got $x"; tty_test=1'],
    terminal: true,
  });
  const stdio = shim.fifos();
  const stdout = reader(stdio.stdout);
  await shim.create({ ...stdio, stderr: '' });
  await shim.begin();
  await shim.resize(99, 33);
  const client = openSync(stdio.stdin, O_WRONLY | O_NONBLOCK);
  writeSync(client, 'hello\n');
  t.equal((await shim.wait()).exitStatus, 0);
  closeSync(client);
  const text = await stdout.ended;
  t.match(text, '33 99\r\n');
  t.match(text, 'got hello\r\n');
  t.equal((await shim.state()).terminal, true);
  t.equal(await shim.finish(), 0);
});

t.test('all of the output of a terminal arrives, however slow the reader', options, async (t) => {
  const shim = await place.start({
    args: ['/bin/sh', '-c', 'head -c 300000 /dev/zero | tr "\\0" y; echo end'],
    terminal: true,
  });
  const stdio = shim.fifos();
  await shim.run({ ...stdio, stderr: '' });
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal((await shim.state()).status, 2, 'the process waits for a reader');
  const text = await reader(stdio.stdout).ended;
  t.equal(text.replaceAll(/[^y]/g, '').length, 300_000);
  t.match(text.slice(-5), 'end\r\n');
  t.equal((await shim.wait()).exitStatus, 0);
  t.equal(await shim.finish(), 0);
});

t.test('an exec with a terminal of its own', options, async (t) => {
  const shim = await place.start({ args: sleeper });
  await shim.run();
  const stdio = shim.fifos('tty');
  const stdout = reader(stdio.stdout);
  await shim.exec('tty', ['/bin/sh', '-c', 'stty size; read line; echo "<$line>"'], { ...stdio, stderr: '' }, true);
  await shim.resize(120, 40, 'tty');
  await shim.begin('tty');
  const client = openSync(stdio.stdin, O_WRONLY | O_NONBLOCK);
  writeSync(client, 'typed\n');
  t.equal((await shim.wait('tty')).exitStatus, 0);
  closeSync(client);
  const text = await stdout.ended;
  t.match(text, '40 120\r\n');
  t.match(text, '<typed>\r\n');
  await shim.delete('tty');
  await shim.kill(SIGKILL);
  await shim.wait();
  t.equal(await shim.finish(), 0);
});

t.test('nothing is left: no process, no cgroup, no mount, no socket', options, async (t) => {
  await place.endAll();
  t.same(place.leaks(), []);
});
