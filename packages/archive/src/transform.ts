/** Sending bytes through a stream or a command, with back-pressure on both sides and the errors of both. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Writable } from 'node:stream';
import { invalidArgument, messageOf, notImplemented } from '@gantry/errors';

/** As much of a child's complaint as goes into an error. */
const complaintBytes = 1000;

/** What the stream makes of the source. Its failure is an invalid argument: `what` names the data. */
export async function* throughStream(
  source: AsyncIterable<Uint8Array>,
  stream: Duplex,
  what: string,
): AsyncGenerator<Uint8Array> {
  const fed = feed(source, stream);
  fed.catch((err: unknown) => stream.destroy(err instanceof Error ? err : new Error(String(err))));
  try {
    for await (const chunk of stream) if (chunk instanceof Uint8Array) yield chunk;
    await fed;
  } catch (err) {
    // The source's own failure comes first; everything else is the data's fault.
    await fed;
    throw invalidArgument(`${what} data: ${messageOf(err)}`, {}, err);
  } finally {
    stream.destroy();
  }
}

/** Writes all of the source; once the other side takes no more, the rest is read and dropped. Throws the source's errors. */
async function feed(source: AsyncIterable<Uint8Array>, stream: Writable): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) stream.once(event, resolve);
  });
  let open = true;
  void ended.then(() => (open = false));
  for await (const chunk of source) {
    if (open && !stream.write(chunk)) await Promise.race([once(stream, 'drain').catch(() => undefined), ended]);
  }
  if (open) stream.end();
}

/** What zstd(1), called with `args`, makes of the source. Not implemented when it is not installed. */
export async function* throughZstd(
  source: AsyncIterable<Uint8Array>,
  args: readonly string[],
): AsyncGenerator<Uint8Array> {
  const child = spawn('zstd', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, complaintBytes);
  });
  const exited = new Promise<number | NodeJS.ErrnoException>((resolve) => {
    child.once('error', resolve);
    child.once('close', (status) => resolve(status ?? -1));
  });
  child.stdin.on('error', () => undefined);
  const fed = feed(source, child.stdin);
  fed.catch(() => child.kill());
  try {
    for await (const chunk of child.stdout) if (chunk instanceof Uint8Array) yield chunk;
    await fed;
    const outcome = await exited;
    if (typeof outcome !== 'number') {
      throw notImplemented(`zstd layers without the zstd command or Node 22.15: ${outcome.message}`, {}, outcome);
    }
    if (outcome !== 0) throw invalidArgument(`zstd data: ${complaint.trim()}`);
  } finally {
    child.kill();
  }
}
