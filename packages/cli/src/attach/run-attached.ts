/**
 * Joins this command's terminal or pipes to a process in a container, for as long as it runs.
 *
 * Keys and signals go to the process (raw mode hands over even Ctrl-C as a byte; without a terminal the signal itself
 * is passed on, and a second Ctrl-C kills). The terminal is put back whatever way this process ends but SIGKILL.
 */
import { isCode } from '@gantry/errors';
import type { TaskProcess } from '@gantry/client';
import { closedPipe } from '../exit-codes.ts';
import { forwardSignals } from './signals.ts';
import { rawTerminal } from './terminal.ts';

export interface AttachOptions {
  readonly terminal: boolean;
  /** Hand on what is typed or piped in. */
  readonly stdin: boolean;
}

/** How an attached process came to its end. */
export interface AttachResult {
  readonly exitStatus: number;
  /** True when the reader of our output went away first; the process may still run. */
  readonly outputClosed: boolean;
}

/** Silence after which the output of an ended process is complete although somebody holds the pipe. */
const drainIdleMs = 300;

/**
 * `begin` starts the process; its output is joined before and its input after. Resolves when the process has ended and
 * its output is written, or when nobody reads our output any more. Does not delete the process.
 */
export async function runAttached(
  process_: TaskProcess,
  options: AttachOptions,
  begin: () => Promise<void>,
): Promise<AttachResult> {
  const closed = joinOutput(process_);
  const restore = options.terminal && options.stdin ? rawTerminal() : undefined;
  const stopForwarding = forwardSignals(process_, options.terminal);
  try {
    await begin();
    if (options.terminal) followSize(process_);
    if (options.stdin) joinInput(process_);
    const ended = process_.wait().then(({ exitStatus }) => ({ exitStatus, outputClosed: false }));
    const gone = closed.then(() => ({ exitStatus: closedPipe, outputClosed: true }));
    const result = await Promise.race([ended, gone]);
    // The rest of the output is for the terminal as the process knew it: it comes before the terminal is put back.
    if (!result.outputClosed) await process_.streams?.drained(drainIdleMs);
    return result;
  } finally {
    stopForwarding();
    restore?.();
    process.stdin.unpipe();
    process.stdin.pause();
  }
}

/** Resolves, if ever, when the reader of stdout has gone. */
function joinOutput(process_: TaskProcess): Promise<void> {
  const { streams } = process_;
  const closed = new Promise<void>((resolve) => {
    process.stdout.once('error', () => resolve());
  });
  streams?.stdout.pipe(process.stdout, { end: false });
  if (streams?.stderr !== undefined) {
    process.stderr.on('error', () => streams.stderr?.resume());
    streams.stderr.pipe(process.stderr, { end: false });
  }
  return closed;
}

function joinInput(process_: TaskProcess): void {
  const stdin = process_.streams?.stdin;
  if (stdin === undefined) return;
  process.stdin.pipe(stdin, { end: false });
  process.stdin.once('end', () => {
    process_.closeStdin().catch(() => {
      // The process has ended or the supervisor is away; the pipe's end is closed either way.
    });
  });
}

function followSize(process_: TaskProcess): void {
  const tell = (): void => {
    const { columns, rows } = process.stdout;
    if (columns === undefined || rows === undefined || columns === 0) return;
    process_.resize({ columns, rows }).catch((err: unknown) => {
      // The size is a courtesy: a process that has just ended has none.
      if (!isCode(err, 'not found') && !isCode(err, 'unavailable')) process.emitWarning(String(err));
    });
  };
  process.stdout.on('resize', tell);
  void process_.wait().finally(() => process.stdout.off('resize', tell));
  tell();
}
