/** Flags that several verbs share, and typed ways to read what was given. */
import { invalidArgument } from '@gantry/errors';
import type { FlagTable, Parsed } from '../args/command.ts';

/** How a process is run: for `run`, `exec`. */
export const processFlags: FlagTable = {
  interactive: { type: 'boolean', short: 'i', help: 'pass stdin to the process' },
  tty: { type: 'boolean', short: 't', help: 'give the process a terminal' },
  env: {
    type: 'list',
    short: 'e',
    value: 'NAME[=VALUE]',
    help: 'set a variable; without a value, pass on the own one',
  },
  user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'names or numbers' },
  workdir: { type: 'string', short: 'w', value: 'DIR', help: 'working directory' },
  privileged: { type: 'boolean', help: 'all capabilities this host can give' },
};

export function flagGiven(parsed: Parsed, name: string): boolean {
  return parsed.booleans.get(name) ?? false;
}

/** Reads a value with a parser; undefined when the flag was not given. */
export function flagValue<T>(parsed: Parsed, name: string, parse: (text: string) => T): T | undefined {
  const text = parsed.strings.get(name);
  return text === undefined ? undefined : parse(text);
}

/** The n-th positional; the table guarantees that it is there. */
export function arg(parsed: Parsed, index: number): string {
  return parsed.args[index] ?? '';
}

/** `KEY=VALUE` arguments as a record; a value may be empty. `what` names them in errors. Throws invalid argument. */
export function keyValues(texts: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text): [string, string] => {
      const equals = text.indexOf('=');
      if (equals <= 0) throw invalidArgument(`${what}: "${text}" is not KEY=VALUE`);
      return [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}
