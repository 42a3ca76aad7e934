import { SyscallError } from '@gantry/libc';
import t from 'tap';
import { Pump } from './pump.ts';

/** A source and a target in memory; the test says when they are ready. */
class Wire {
  readonly input: Buffer[] = [];
  output = Buffer.alloc(0);
  ended = false;
  nobody = false;
  room = Number.POSITIVE_INFINITY;
  writeFails = false;
  lost = 0;
  ends = 0;
  readable: (() => void) | undefined;
  writable: (() => void) | undefined;
  readonly pump = new Pump({
    sys: {
      read: (_fd, into, offset, length) => this.#read(into, offset, length),
      write: (_fd, from, offset, length) => this.#write(from, offset, length),
    },
    watchReadable: (_fd, onReady) => {
      this.readable = onReady;
      return () => {
        this.readable = undefined;
      };
    },
    watchWritable: (_fd, onReady) => {
      this.writable = onReady;
      return () => {
        this.writable = undefined;
      };
    },
    from: 3,
    to: 4,
    bufferBytes: 8,
    onEnd: () => this.ends++,
    onLost: (sizeBytes) => {
      this.lost += sizeBytes;
    },
  });

  #read(into: Buffer, offset = 0, length = into.length): number | undefined {
    const next = this.input.shift();
    if (next === undefined) {
      if (this.nobody) throw new SyscallError('read', 5, 'EIO', 'input/output error', 'fd 3');
      return this.ended ? 0 : undefined;
    }
    const count = next.copy(into, offset, 0, length);
    if (count < next.length) this.input.unshift(next.subarray(count));
    return count;
  }

  #write(from: Buffer, offset = 0, length = from.length): number | undefined {
    if (this.writeFails) throw new SyscallError('write', 28, 'ENOSPC', 'no space left on device', 'fd 4');
    const count = Math.min(length, this.room);
    if (count === 0) return undefined;
    this.room -= count;
    this.output = Buffer.concat([this.output, from.subarray(offset, offset + count)]);
    return count;
  }
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

t.test('what comes in goes out', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.input.push(Buffer.from('abc'), Buffer.from('def'));
  wire.readable?.();
  t.equal(wire.output.toString(), 'abcdef');
  t.ok(wire.readable);
  wire.pump.stop();
  t.notOk(wire.readable);
});

t.test('a full target stops the reading, and goes on where it was', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.room = 5;
  wire.input.push(Buffer.from('0123456789abcdef'));
  wire.readable?.();
  t.equal(wire.output.toString(), '01234');
  t.notOk(wire.readable, 'not reading');
  t.equal(wire.input.length, 1, 'the source keeps the rest');
  wire.room = 100;
  wire.writable?.();
  t.equal(wire.output.toString(), '0123456789abcdef');
  t.ok(wire.readable);
  wire.pump.stop();
});

t.test('a source that never stops does not starve the loop', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  for (let index = 0; index < 100; index++) wire.input.push(Buffer.from('01234567'));
  wire.readable?.();
  t.ok(wire.output.length < 800);
  await turns(20);
  t.equal(wire.output.length, 800);
  wire.pump.stop();
});

t.test('the end of the source is told once', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.input.push(Buffer.from('x'));
  wire.ended = true;
  wire.readable?.();
  t.equal(wire.output.toString(), 'x');
  t.equal(wire.ends, 1);
  wire.pump.finish();
  t.equal(wire.ends, 1);
});

t.test('finish passes on what is there, waits for room, and ends', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.room = 1;
  wire.input.push(Buffer.from('tail'));
  wire.pump.finish();
  t.equal(wire.ends, 0);
  wire.room = 100;
  wire.writable?.();
  t.equal(wire.output.toString(), 'tail');
  t.equal(wire.ends, 1);
});

t.test('a terminal that nobody has open is looked at again while the process lives', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.nobody = true;
  wire.readable?.();
  t.equal(wire.ends, 0);
  wire.nobody = false;
  wire.input.push(Buffer.from('back'));
  while (wire.output.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(wire.output.toString(), 'back');
  wire.nobody = true;
  wire.pump.finish();
  t.equal(wire.ends, 1);
});

t.test('a failing write loses the chunk, not the process', async (t) => {
  const wire = new Wire();
  wire.pump.start();
  wire.writeFails = true;
  wire.input.push(Buffer.from('lost'));
  wire.readable?.();
  wire.writeFails = false;
  wire.input.push(Buffer.from('kept'));
  wire.readable?.();
  t.equal(wire.lost, 4);
  t.equal(wire.output.toString(), 'kept');
  wire.pump.stop();
});
