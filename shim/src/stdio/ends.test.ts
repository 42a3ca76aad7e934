import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linux, O_NONBLOCK } from '@gantry/libc';
import t from 'tap';
import { InputEnd, OutputEnd } from './ends.ts';

const { O_RDONLY, O_WRONLY } = constants;

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-ends-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

function fifo(): string {
  const path = join(scratch(), 'fifo');
  execFileSync('mkfifo', [path]);
  return path;
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Reads what is there; undefined when there is nothing yet, '' at the end of file. */
function look(fd: number): string | undefined {
  const buffer = Buffer.alloc(100_000);
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, null));
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'EAGAIN') return undefined;
    throw err;
  }
}

function flagsOf(fd: number): number {
  return Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8);
}

function output(path: string): OutputEnd {
  const end = OutputEnd.open(linux, 'stdout', { kind: 'existing', path }, { nonBlocking: false });
  if (end === undefined) throw new Error('no end');
  return end;
}

function input(path: string): InputEnd {
  const end = InputEnd.open(linux, { kind: 'existing', path }, { nonBlocking: false });
  if (end === undefined) throw new Error('no end');
  return end;
}

t.test('an output fifo opens without a reader, and the container gets a blocking write-only descriptor', async (t) => {
  const end = output(fifo());
  t.equal(flagsOf(end.writeFd) & O_NONBLOCK, 0);
  t.equal(flagsOf(end.writeFd) & 3, O_WRONLY);
  end.close();
});

t.test('a reader that goes away and comes back loses nothing and costs no EPIPE', async (t) => {
  const path = fifo();
  const end = output(path);
  const first = openSync(path, O_RDONLY | O_NONBLOCK);
  writeSync(end.writeFd, 'one');
  t.equal(look(first), 'one');
  closeSync(first);
  writeSync(end.writeFd, 'two');
  const second = openSync(path, O_RDONLY | O_NONBLOCK);
  t.equal(look(second), 'two');
  t.equal(look(second), undefined, 'no end of file while the process lives');
  end.release();
  t.equal(look(second), '', 'end of file after the exit');
  closeSync(second);
  end.close();
});

t.test('a reader that comes after the exit still gets everything and then the end of file', async (t) => {
  const before = openDescriptors();
  const path = fifo();
  const end = output(path);
  writeSync(end.writeFd, 'late');
  end.handedOver();
  end.release();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const reader = openSync(path, O_RDONLY | O_NONBLOCK);
  t.equal(look(reader), 'late');
  while (look(reader) !== '') await new Promise((resolve) => setTimeout(resolve, 5));
  closeSync(reader);
  t.equal(openDescriptors(), before);
});

t.test('closing does not wait for a reader', async (t) => {
  const before = openDescriptors();
  const end = output(fifo());
  end.release();
  end.close();
  end.close();
  t.equal(openDescriptors(), before);
});

t.test('stdin ends after CloseIO and the close of the client, in either order', async (t) => {
  for (const clientFirst of [true, false]) {
    const path = fifo();
    const end = input(path);
    const process = linux.openat(-100, `/proc/self/fd/${end.readFd}`, O_RDONLY | O_NONBLOCK);
    end.handedOver();
    const client = openSync(path, O_WRONLY);
    writeSync(client, 'x');
    t.equal(look(process), 'x');
    if (clientFirst) closeSync(client);
    else end.closeWriteSide();
    t.equal(look(process), undefined, 'half closed is not closed');
    if (clientFirst) end.closeWriteSide();
    else closeSync(client);
    t.equal(look(process), '');
    linux.close(process);
    end.close();
  }
});

t.test('a client that writes to a process without stdin gets EPIPE', async (t) => {
  const path = fifo();
  const end = input(path);
  const client = openSync(path, O_WRONLY);
  end.handedOver();
  t.throws(() => writeSync(client, 'x'), { code: 'EPIPE' });
  closeSync(client);
  end.close();
});

t.test('a log file is made with its directories and appended to', async (t) => {
  const path = join(scratch(), 'a', 'b', 'log');
  for (const text of ['one\n', 'two\n']) {
    const end = OutputEnd.open(linux, 'stdout', { kind: 'log', path }, { nonBlocking: false });
    if (end === undefined) throw new Error('no end');
    t.equal(flagsOf(end.writeFd) & O_NONBLOCK, 0);
    writeSync(end.writeFd, text);
    end.close();
  }
  t.equal(readFileSync(path, 'utf8'), 'one\ntwo\n');
  t.equal(statSync(path).mode & 0o777, 0o644);
});

t.test('an existing file is appended to, a device is written to', async (t) => {
  const path = join(scratch(), 'file');
  writeFileSync(path, 'before ');
  const end = output(path);
  writeSync(end.writeFd, 'after');
  end.release();
  t.equal(readFileSync(path, 'utf8'), 'before after');
  output('/dev/null').release();
});

t.test('what cannot be opened is named, and leaves no descriptor', async (t) => {
  const before = openDescriptors();
  t.throws(() => output('/no/such/fifo'), { message: /opening stdout "\/no\/such\/fifo": ENOENT/ });
  t.throws(() => input('/no/such/fifo'), { message: /opening stdin "\/no\/such\/fifo": ENOENT/ });
  t.throws(() => output(scratch()), { message: /is a directory/ });
  t.equal(openDescriptors(), before);
});
