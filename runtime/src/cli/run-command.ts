/** One call of the command line, from its words to its exit status. */
import { createRequire } from 'node:module';
import { GantryError, invalidArgument, messageOf } from '@gantry/errors';
import { Given, parseFlags } from './arguments.ts';
import type { Parsed } from './arguments.ts';
import { ExitStatus } from './command.ts';
import type { Command } from './command.ts';
import { commands } from './commands/all.ts';
import { globalFlags, globalOptions } from './global-options.ts';
import { commandHelp, generalHelp, versionText } from './help.ts';
import { print, Report } from './report.ts';
import { StateRoot } from './state-root.ts';

/** What a failed command's sentence begins with, as runc's does. */
const prefixes: Readonly<Record<string, string>> = {
  create: 'runc create failed: ',
  run: 'runc run failed: ',
  exec: 'exec failed: ',
};

/** Never rejects: a failure is in the log and on standard error, and its status is returned. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  let report = new Report(logOptions(argv));
  let prefix = '';
  try {
    const { given, rest } = parseFlags(argv, globalFlags, 'flags first');
    const options = globalOptions(given);
    report = new Report(options);
    report.check();
    const [command, ...words] = rest;
    if (given.on('version')) {
      print(versionText(ownVersion()));
      return 0;
    }
    if (given.on('help') || command === undefined) {
      print(generalHelp(commands));
      return 0;
    }
    if (command === 'help' || command === 'h') return help(words[0]);
    const found = find(command);
    const parsed = parseWords(found, words);
    if (parsed === undefined) return 0;
    prefix = prefixes[found.name] ?? '';
    return await found.run({ root: new StateRoot(options.root), options, report }, parsed);
  } catch (err) {
    report.error(`${prefix}${sentence(err)}`);
    return err instanceof ExitStatus ? err.status : 1;
  }
}

/** Undefined when help was asked for and given. */
function parseWords(command: Command, words: readonly string[]): Parsed | undefined {
  const { name, flags, flagsFirst, words: allowed } = command;
  const helpFlag = { name: 'help', aliases: ['h'], kind: 'switch', help: '' } as const;
  const parsed = parseFlags(words, [...flags, helpFlag], flagsFirst === true ? 'flags first' : 'anywhere');
  if (parsed.given.on('help')) {
    print(commandHelp(command));
    return undefined;
  }
  const [fewest, most] = allowed;
  const count = parsed.rest.length;
  if (count >= fewest && count <= most) return parsed;
  process.stderr.write(`Incorrect Usage.\n\n${commandHelp(command)}\n`);
  const wanted =
    fewest === most ? `exactly ${fewest}` : count < fewest ? `a minimum of ${fewest}` : `a maximum of ${most}`;
  throw invalidArgument(`gantry-runtime: "${name}" requires ${wanted} argument(s)`);
}

function find(name: string): Command {
  const command = commands.find((one) => one.name === name);
  if (command !== undefined) return command;
  throw new ExitStatus(`No help topic for '${name}'`, 3);
}

function help(name: string | undefined): number {
  print(name === undefined ? generalHelp(commands) : commandHelp(find(name)));
  return 0;
}

/** Where to report a mistake in the global options themselves. */
function logOptions(argv: readonly string[]): { logFile: string; logFormat: 'text' | 'json'; debug: boolean } {
  const given = new Given();
  for (const [index, word] of argv.entries()) {
    const [, flag, value] = /^--?(log|log-format)(?:=(.*))?$/s.exec(word) ?? [];
    if (flag !== undefined) given.add(flag, value ?? argv[index + 1] ?? '');
  }
  return {
    logFile: given.text('log'),
    logFormat: given.text('log-format') === 'json' ? 'json' : 'text',
    debug: false,
  };
}

/** The message, with what an error without one of our classes means added by Node itself. */
function sentence(err: unknown): string {
  return err instanceof GantryError || err instanceof ExitStatus ? err.message : messageOf(err);
}

function ownVersion(): string {
  const unsafe: unknown = createRequire(import.meta.url)('../../package.json');
  if (typeof unsafe === 'object' && unsafe !== null && 'version' in unsafe) return String(unsafe.version);
  return 'unknown';
}
