/**
 * Reading a command line the way runc's callers write one: `--flag value`, `--flag=value`, `-f value`, `-flag value`;
 * a switch may be given as `--flag=false`. `--` ends the flags.
 */
import { invalidArgument } from '@gantry/errors';

/** `switch` takes no value; `list` may be given several times. */
export type FlagKind = 'switch' | 'text' | 'number' | 'list';

export interface Flag {
  readonly name: string;
  /** Other names. */
  readonly aliases?: readonly string[];
  readonly kind: FlagKind;
  readonly help: string;
}

/** What was given, by the flags' names. */
export class Given {
  readonly #values = new Map<string, string[]>();

  add(name: string, value: string): void {
    this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** True for a switch that is on. */
  on(name: string): boolean {
    return this.text(name) === 'true';
  }

  /** The last value; empty when it was not given. */
  text(name: string): string {
    return this.#values.get(name)?.at(-1) ?? '';
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** 0 when it was not given. Invalid argument for anything but a decimal integer. */
  number(name: string): number {
    const text = this.text(name);
    if (text === '') return 0;
    const value = Number(text);
    if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
    throw invalidArgument(`invalid value ${JSON.stringify(text)} for flag -${name}`);
  }
}

export interface Parsed {
  readonly given: Given;
  readonly rest: readonly string[];
}

/**
 * Splits `words` into flags and the rest. `order: 'flags first'` stops at the first word that is no flag, because what
 * follows is another program's; otherwise flags may stand anywhere. Throws invalid argument.
 */
export function parseFlags(
  words: readonly string[],
  flags: readonly Flag[],
  order: 'flags first' | 'anywhere' = 'anywhere',
): Parsed {
  const byName = new Map(flags.flatMap((flag) => [flag.name, ...(flag.aliases ?? [])].map((name) => [name, flag])));
  const given = new Given();
  const rest: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    if (word === '--') return { given, rest: [...rest, ...words.slice(index + 1)] };
    if (!isFlag(word)) {
      rest.push(word);
      if (order === 'flags first') return { given, rest: words.slice(index) };
      continue;
    }
    const [, name = '', value] = /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const flag = byName.get(name);
    if (flag === undefined) throw invalidArgument(`flag provided but not defined: -${name}`);
    if (flag.kind === 'switch') given.add(flag.name, switchValue(name, value));
    else {
      const text = value ?? words[++index];
      if (text === undefined) throw invalidArgument(`flag needs an argument: -${name}`);
      given.add(flag.name, text);
    }
  }
  return { given, rest };
}

/** A lone dash is a word: the standard input. */
function isFlag(word: string): boolean {
  return word.length > 1 && word.startsWith('-');
}

function switchValue(name: string, value: string | undefined): string {
  if (value === undefined) return 'true';
  if (/^(?:1|t|true)$/i.test(value)) return 'true';
  if (/^(?:0|f|false)$/i.test(value)) return 'false';
  throw invalidArgument(`invalid boolean value ${JSON.stringify(value)} for -${name}`);
}
