/** What a command line is made of, as data: parsing, help and errors all come from these tables. */
import type { Client } from '@gantry/client';

/**
 * - `boolean`: `--x`, `--x=false`
 * - `string`: `--x value`, the last one counts
 * - `list`: as string, every one counts
 */
export interface Flag {
  readonly type: 'boolean' | 'string' | 'list';
  /** One letter. */
  readonly short?: string;
  /** What the value is called in the help. */
  readonly value?: string;
  readonly help: string;
}

export type FlagTable = Readonly<Record<string, Flag>>;

/** What a command line gave; a flag that was not given is absent. */
export interface Parsed {
  readonly booleans: ReadonlyMap<string, boolean>;
  readonly strings: ReadonlyMap<string, string>;
  readonly lists: ReadonlyMap<string, readonly string[]>;
  readonly args: readonly string[];
}

/** Where results go. Data goes to `write`, everything else is an error or a warning on stderr. */
export interface Context {
  readonly parsed: Parsed;
  readonly format: 'table' | 'json';
  /** Opened on first use, so that help and usage errors need no supervisor. */
  readonly client: () => Client;
  readonly write: (text: string) => void;
  readonly warn: (text: string) => void;
}

export interface Command {
  /** One or two words: `run`, `namespace ls`. */
  readonly name: string;
  readonly aliases?: readonly string[];
  /** The positionals, e.g. `IMAGE [COMMAND] [ARG...]`. */
  readonly usage: string;
  readonly summary: string;
  readonly flags: FlagTable;
  readonly minArgs: number;
  /** Infinity when the last positional repeats. */
  readonly maxArgs: number;
  /** True when everything from the first positional on belongs to the container's command. */
  readonly stopsAtFirstArg?: boolean;
  /** Resolves to the exit code. */
  readonly run: (context: Context) => Promise<number>;
}

/** Flags every command takes. */
export const globalFlags: FlagTable = {
  address: {
    type: 'string',
    short: 'a',
    value: 'SOCKET',
    help: 'socket of the supervisor (GANTRY_ADDRESS; /run/gantry/gantry.sock)',
  },
  namespace: { type: 'string', short: 'n', value: 'NAME', help: 'namespace (GANTRY_NAMESPACE; default)' },
  format: { type: 'string', value: 'table|json', help: 'output format; json prints one object a line' },
  timeout: { type: 'string', value: 'SECONDS', help: 'limit of each request; 0 for none' },
  help: { type: 'boolean', short: 'h', help: 'this help' },
};
