/** Turns argv into a command and its flags, by the tables; every mistake is one line that says what to write. */
import { parseArgs } from 'node:util';
import { invalidArgument } from '@gantry/errors';
import { globalFlags } from './command.ts';
import type { Command, FlagTable, Parsed } from './command.ts';
import { nearest } from './nearest.ts';

/** What was asked for: a command to run, or help about one, about those of a noun, or about all. */
export type Request =
  | { readonly kind: 'run'; readonly command: Command; readonly parsed: Parsed }
  | { readonly kind: 'help'; readonly command: Command | undefined; readonly noun?: string };

/**
 * Flags may stand before the verb (the global ones) and after it (the verb's own, and the global ones whose letter the
 * verb does not use itself). Throws invalid argument.
 */
export function parseCommandLine(argv: readonly string[], commands: readonly Command[]): Request {
  const front = parseFlags(argv, globalFlags, 'until first argument');
  const [verb, ...rest] = front.args;
  if (verb === undefined) return { kind: 'help', command: undefined };
  if (verb === 'help') return helpFor(rest, commands);
  const asksForHelp = rest.includes('--help') || rest.includes('-h');
  if (asksForHelp && findOptional(front.args, commands) === undefined && isNoun(verb, commands)) {
    return helpFor([verb], commands);
  }
  const { command, args } = find(front.args, commands);
  const order = command.stopsAtFirstArg === true ? 'until first argument' : 'anywhere';
  const parsed = merge(front, parseFlags(args, flagsOf(command), order));
  if (parsed.booleans.get('help') === true) return { kind: 'help', command };
  checkCount(command, parsed.args.length);
  return { kind: 'run', command, parsed };
}

function helpFor(words: readonly string[], commands: readonly Command[]): Request {
  const command = findOptional(words, commands)?.command;
  const [noun = ''] = words;
  if (command === undefined && isNoun(noun, commands)) return { kind: 'help', command: undefined, noun };
  return { kind: 'help', command };
}

/** True for the first word of commands of two words. */
function isNoun(word: string, commands: readonly Command[]): boolean {
  return commands.some((command) => namesOf(command).some((name) => name.startsWith(`${word} `)));
}

function namesOf({ name, aliases = [] }: Command): readonly string[] {
  return [name, ...aliases];
}

/** The verb's flags and the global ones; a verb's letter wins over a global one's. */
export function flagsOf(command: Command): FlagTable {
  const taken = new Set(Object.values(command.flags).map((flag) => flag.short));
  const globals = Object.entries(globalFlags)
    .filter(([name]) => !(name in command.flags))
    .map(([name, flag]) => {
      const { short, ...withoutShort } = flag;
      return [name, short !== undefined && taken.has(short) ? withoutShort : flag] as const;
    });
  return { ...Object.fromEntries(globals), ...command.flags };
}

/** Parses flags and positionals; with `until first argument` the first positional ends the flags. */
export function parseFlags(
  args: readonly string[],
  table: FlagTable,
  order: 'anywhere' | 'until first argument',
): Parsed {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, flag]) => [
      name,
      {
        type: flag.type === 'boolean' ? ('boolean' as const) : ('string' as const),
        multiple: flag.type === 'list',
        ...(flag.short === undefined ? {} : { short: flag.short }),
      },
    ]),
  );
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true });
  const result = new ParsedFlags(table);
  for (const token of tokens) {
    if (token.kind === 'option') {
      result.add(token.name, token.rawName, token.value);
    } else if (token.kind === 'positional') {
      if (order === 'until first argument') return result.finish(args.slice(token.index));
      result.positionals.push(token.value);
    } else if (order === 'until first argument') {
      return result.finish(args.slice(token.index + 1));
    }
  }
  return result.finish(result.positionals);
}

class ParsedFlags {
  readonly positionals: string[] = [];
  private readonly booleans = new Map<string, boolean>();
  private readonly strings = new Map<string, string>();
  private readonly lists = new Map<string, string[]>();
  private readonly table: FlagTable;

  constructor(table: FlagTable) {
    this.table = table;
  }

  add(name: string, rawName: string, value: string | undefined): void {
    const flag = Object.hasOwn(this.table, name) ? this.table[name] : undefined;
    if (flag === undefined) throw unknownFlag(rawName, this.table);
    if (flag.type === 'boolean') {
      this.booleans.set(name, toBoolean(rawName, value));
      return;
    }
    if (value === undefined)
      throw invalidArgument(`flag ${rawName} needs a value: ${rawName}=${flag.value ?? 'VALUE'}`);
    if (flag.type === 'string') this.strings.set(name, value);
    else this.lists.set(name, [...(this.lists.get(name) ?? []), value]);
  }

  finish(args: readonly string[]): Parsed {
    return { booleans: this.booleans, strings: this.strings, lists: this.lists, args: [...args] };
  }
}

function toBoolean(rawName: string, value: string | undefined): boolean {
  if (value === undefined || value === 'true') return true;
  if (value === 'false') return false;
  throw invalidArgument(`flag ${rawName} is true or false, not "${value}"`);
}

function unknownFlag(rawName: string, table: FlagTable): Error {
  const known = rawName.startsWith('--') ? nearest(rawName.slice(2), Object.keys(table)) : undefined;
  return invalidArgument(`unknown flag ${rawName}${known === undefined ? '' : `; did you mean --${known}?`}`);
}

function merge(front: Parsed, back: Parsed): Parsed {
  return {
    booleans: new Map([...front.booleans, ...back.booleans]),
    strings: new Map([...front.strings, ...back.strings]),
    lists: new Map([...front.lists, ...back.lists]),
    args: back.args,
  };
}

interface Found {
  readonly command: Command;
  readonly args: readonly string[];
}

function find(words: readonly string[], commands: readonly Command[]): Found {
  const found = findOptional(words, commands);
  if (found !== undefined) return found;
  const [first = '', second = ''] = words;
  const names = commands.flatMap((command) => [command.name, ...(command.aliases ?? [])]);
  const under = names.filter((name) => name.startsWith(`${first} `));
  if (under.length > 0) {
    throw invalidArgument(`"${first}" needs one of: ${under.map((name) => name.slice(first.length + 1)).join(', ')}`);
  }
  const near = nearest(first, names) ?? nearest(`${first} ${second}`, names);
  throw invalidArgument(`unknown command "${first}"${near === undefined ? '' : `; did you mean "${near}"?`}`);
}

/** The longest command name that `words` begin with. */
function findOptional(words: readonly string[], commands: readonly Command[]): Found | undefined {
  for (const length of [2, 1]) {
    const name = words.slice(0, length).join(' ');
    const command = commands.find((candidate) => candidate.name === name || candidate.aliases?.includes(name));
    if (words.length >= length && command !== undefined) return { command, args: words.slice(length) };
  }
  return undefined;
}

function checkCount(command: Command, count: number): void {
  if (count < command.minArgs || count > command.maxArgs) {
    throw invalidArgument(`usage: gantry ${command.name} [flags] ${command.usage}`.trimEnd());
  }
}
