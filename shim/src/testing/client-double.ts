/** The client's side of a shim test: reads the fifos it made. */
import { closeSync, constants, openSync, readSync } from 'node:fs';

const { O_RDONLY, O_NONBLOCK } = constants;

/** Reads a fifo to its end, as a client does, without ever blocking this process. */
export function reader(path: string): { readonly text: () => string; readonly ended: Promise<string> } {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  const chunk = Buffer.alloc(65_536);
  const chunks: Buffer[] = [];
  const text = (): string => Buffer.concat(chunks).toString();
  const ended = (async () => {
    let started = false;
    for (;;) {
      const count = readSome(fd, chunk);
      if (count !== undefined && count > 0) chunks.push(Buffer.from(chunk.subarray(0, count)));
      if (count !== 0) started = true;
      if (count === 0 && started) break;
      if (count === undefined || count === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    closeSync(fd);
    return text();
  })();
  return { text, ended };
}

function readSome(fd: number, into: Buffer): number | undefined {
  try {
    return readSync(fd, into, 0, into.length, null);
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'EAGAIN') return undefined;
    throw err;
  }
}

/** Polls for five seconds; throws saying what was waited for. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
