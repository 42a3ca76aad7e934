/** What one command of the command line is. */
import type { Flag, Parsed } from './arguments.ts';
import type { GlobalOptions } from './global-options.ts';
import type { Report } from './report.ts';
import type { StateRoot } from './state-root.ts';

export interface Context {
  readonly root: StateRoot;
  readonly options: GlobalOptions;
  readonly report: Report;
}

export interface Command {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  readonly flags: readonly Flag[];
  /** The fewest and the most words beside the flags. */
  readonly words: readonly [number, number];
  /** What follows the first word is another program's. */
  readonly flagsFirst?: boolean;
  /** Returns the exit status. */
  run(context: Context, parsed: Parsed): number | Promise<number>;
}

/** The exit status of an `exec` that did not get as far as its process. */
export class ExitStatus extends Error {
  override readonly name = 'ExitStatus';
  readonly status: number;

  constructor(cause: unknown, status: number) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.status = status;
  }
}
