/**
 * Image verifiers: programs that are asked before a pull whether the image may come, by containerd's contract (its bindir plugin).
 *
 *     DIR/PROGRAM -name NAME -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json
 *
 * with the target's descriptor as JSON on standard input. Exit status 0 lets it come; another one does not, for the reason on
 * standard output; standard error is for the log. All that is in the directory is asked in the order of the names, one after the
 * other; what cannot be run, or takes too long, blocks the pull.
 */
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { cancelled, messageOf, unknown, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Descriptor } from '@gantry/oci';
import type { ImageVerifierConfig } from '../config/plugin-tables.ts';

/** As much of what a verifier says is kept. */
const outputBytes = 16 * 1024;

export interface ImageVerifiersOptions {
  readonly config: ImageVerifierConfig;
  readonly log: { debug(fields: object, text: string): void; warn(fields: object, text: string): void };
}

/** Throws unknown, with the reason, when the image must not be pulled; cancelled. */
export async function verifyImage(
  { config, log }: ImageVerifiersOptions,
  name: string,
  target: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  const { directory, maximum, timeoutMs } = config;
  const about = { image: name, digest: target.digest };
  const blocked = `pull of ${name} with digest ${target.digest}`;
  const all = await programsIn(directory).catch((err: unknown) => {
    throw wrap(err, `blocking ${blocked}: image verifier bindir returned error: failed to list directory contents`);
  });
  const asked = maximum < 0 ? all : all.slice(0, maximum);
  if (asked.length < all.length) log.warn({ ...about, verifiers: all.length, maximum }, 'image verifiers are skipped');
  for (const program of asked) {
    let verdict: Verdict;
    try {
      verdict = await ask(path.join(directory, program), name, target, timeoutMs, signal);
    } catch (err) {
      if (signal.aborted) throw cancelled(blocked);
      const why = `failed to call verifier ${program}: ${messageOf(err)}`;
      log.warn({ ...about, verifier: program, err: messageOf(err) }, 'image verifier gave no judgement');
      throw unknown(`blocking ${blocked}: image verifier bindir returned error: ${why}`);
    }
    const { status, reason, said } = verdict;
    log.debug({ ...about, verifier: program, status, reason, said }, 'image verifier');
    if (status === 0) continue;
    log.warn({ ...about, verifier: program, reason }, 'image verifier blocked pull');
    const why = `verifier ${program} rejected image (exit code ${status}): ${reason}`;
    throw unknown(`image verifier bindir blocked ${blocked} for reason: ${why}`);
  }
}

/** In the order of their names' bytes; none when there is no such directory. */
async function programsIn(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory, 'buffer');
    return names.sort(Buffer.compare).map((name) => name.toString('utf8'));
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return [];
    throw err;
  }
}

interface Verdict {
  readonly status: number;
  /** Of its standard output. */
  readonly reason: string;
  /** Of its standard error. */
  readonly said: string;
}

/** Runs one verifier. Throws when it cannot be started, dies of a signal, or does not end in time; nothing of it is left then. */
async function ask(
  file: string,
  name: string,
  { mediaType, digest, size, annotations }: Descriptor,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Verdict> {
  const args = ['-name', name, '-digest', digest, '-stdin-media-type', 'application/vnd.oci.descriptor.v1+json'];
  // In a group of its own, so that what it has started ends with it.
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const output = new Output(child.stdout);
  const errors = new Output(child.stderr);
  child.stdin.on('error', () => undefined); // it need not read
  child.stdin.end(`${JSON.stringify({ mediaType, digest, size, ...(annotations && { annotations }) })}\n`);
  const killGroup = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, 'SIGKILL');
  };
  let timer: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, killer) => (code === null ? reject(new Error(`signal ${killer}`)) : resolve(code)));
      timer = setTimeout(() => {
        // What it left behind may keep its output open.
        if (child.exitCode !== null) resolve(child.exitCode);
        else reject(new Error(`no answer within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      stop = () => reject(new Error('cancelled'));
      signal.addEventListener('abort', stop);
      if (signal.aborted) stop();
    });
    return { status, reason: output.text('(stdout truncated)'), said: errors.text('(truncated)') };
  } finally {
    clearTimeout(timer);
    if (stop !== undefined) signal.removeEventListener('abort', stop);
    killGroup();
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  }
}

/** The beginning of what comes; the rest is read and dropped. */
class Output {
  readonly #pieces: Buffer[] = [];
  #length = 0;

  constructor(stream: NodeJS.ReadableStream) {
    stream.on('error', () => undefined);
    stream.on('data', (piece: Buffer) => {
      if (this.#length < outputBytes) this.#pieces.push(piece.subarray(0, outputBytes - this.#length));
      this.#length += piece.length;
    });
  }

  text(truncated: string): string {
    const text = Buffer.concat(this.#pieces).toString('utf8').trim();
    return this.#length > outputBytes ? `${text}${truncated}` : text;
  }
}
