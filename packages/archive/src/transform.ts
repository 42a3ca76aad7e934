/** Sending bytes through a stream or a command, with back-pressure on both sides and the errors of both. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
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

/** A program that makes one stream of bytes of another, from its standard input to its standard output. */
export interface Filter {
  readonly file: string;
  readonly args: readonly string[];
  /** Its whole environment; ours when absent. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it can read from descriptor 3; without, there is none. */
  readonly payload?: Uint8Array | undefined;
  /** The error for how it ended: what spawning it failed with, its exit status, or the signal's name. */
  failure(outcome: NodeJS.ErrnoException | number | NodeJS.Signals, complaint: string): Error;
}

/**
 * What the program makes of the source, which is read to its end even when the program ends before. Its failure is thrown at the
 * end of its output, after the source's own. A consumer that stops early ends it by SIGKILL.
 */
export async function* throughCommand(source: AsyncIterable<Uint8Array>, filter: Filter): AsyncGenerator<Uint8Array> {
  const { file, args, env, payload } = filter;
  const stdio: 'pipe'[] = Array.from({ length: payload === undefined ? 3 : 4 }, () => 'pipe');
  const child = spawn(file, args, { stdio, ...(env === undefined ? {} : { env: { ...env } }) });
  const [stdin, stdout, stderr, extra] = child.stdio as unknown as [Writable, Readable, Readable, Writable | undefined];
  let complaint = '';
  stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, complaintBytes);
  });
  const exited = new Promise<NodeJS.ErrnoException | number | NodeJS.Signals>((resolve) => {
    child.once('error', resolve);
    child.once('close', (status, signal) => resolve(signal ?? status ?? -1));
  });
  // A program need not read all it could.
  stdin.on('error', () => undefined);
  extra?.on('error', () => undefined).end(payload);
  const fed = feed(source, stdin);
  fed.catch(() => child.kill('SIGKILL'));
  try {
    for await (const chunk of stdout) if (chunk instanceof Uint8Array) yield chunk;
    await fed;
    const outcome = await exited;
    if (outcome !== 0) throw filter.failure(outcome, complaint.trim());
  } finally {
    child.kill('SIGKILL');
  }
}

/** What zstd(1), called with `args`, makes of the source. Not implemented when it is not installed. */
export function throughZstd(source: AsyncIterable<Uint8Array>, args: readonly string[]): AsyncGenerator<Uint8Array> {
  return throughCommand(source, {
    file: 'zstd',
    args,
    failure: (outcome, complaint) =>
      outcome instanceof Error
        ? notImplemented(`zstd layers without the zstd command or Node 22.15: ${outcome.message}`, {}, outcome)
        : invalidArgument(`zstd data: ${complaint}`),
  });
}
