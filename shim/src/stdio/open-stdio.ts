/** Opens the stdio of a process as Create or Exec asks for it. */
import { watchReadable, watchWritable } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { ShimLog } from '../log.ts';
import type { Reaper } from '../process/reaper.ts';
import { DirectStdio } from './direct-stdio.ts';
import type { StdioOwner } from './ends.ts';
import { LoggingProgram } from './logging-program.ts';
import type { ProcessStdio } from './process-stdio.ts';
import { parseStdio } from './target.ts';
import { TerminalStdio } from './terminal-stdio.ts';

/** The four fields of Create and Exec. */
export interface StdioStrings {
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OpenStdioParts {
  readonly sys: Syscalls;
  readonly log: ShimLog;
  readonly reaper: Reaper;
  readonly containerId: string;
  readonly namespace: string;
  readonly owner?: StdioOwner;
}

/**
 * Never waits for the client; only for a logging program to say that it is ready. Throws invalid argument or the
 * failure of an open, naming stream and path.
 */
export async function openStdio(parts: OpenStdioParts, strings: StdioStrings): Promise<ProcessStdio> {
  const targets = parseStdio(strings);
  const program = targets.stdout.kind === 'program' ? await LoggingProgram.start(parts, targets.stdout) : undefined;
  try {
    if (!strings.terminal) return new DirectStdio(parts.sys, targets, parts.owner, program);
    const given = program === undefined ? parts : { ...parts, program };
    return new TerminalStdio({ ...given, watchReadable, watchWritable }, targets);
  } catch (err) {
    program?.stop();
    throw err;
  }
}
