/** Opens the stdio of a process as Create or Exec asks for it. */
import { watchReadable, watchWritable } from '@gantry/libc';
import type { ShimLog } from '../log.ts';
import { DirectStdio } from './direct-stdio.ts';
import type { StdioOwner } from './ends.ts';
import type { ProcessStdio } from './process-stdio.ts';
import { parseStdio } from './target.ts';
import { TerminalStdio } from './terminal-stdio.ts';
import type { TerminalCalls } from './terminal-stdio.ts';

/** The four fields of Create and Exec. */
export interface StdioStrings {
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Never waits for the client. Throws invalid argument or the failure of an open, naming stream and path. */
export function openStdio(
  parts: { readonly sys: TerminalCalls; readonly log: ShimLog; readonly owner?: StdioOwner },
  strings: StdioStrings,
): ProcessStdio {
  const targets = parseStdio(strings);
  if (!strings.terminal) return new DirectStdio(parts.sys, targets, parts.owner);
  return new TerminalStdio({ ...parts, watchReadable, watchWritable }, targets);
}
