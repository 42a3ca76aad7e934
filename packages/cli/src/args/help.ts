/** Help texts out of the tables. */
import { globalFlags } from './command.ts';
import type { Command, Flag, FlagTable } from './command.ts';

/** `gantry help`: every command on a line. */
export function generalHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  const lines = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`);
  return [
    'gantry: containers from the command line',
    '',
    'Usage: gantry [flags] COMMAND',
    '',
    'Commands:',
    ...lines,
    '',
    'Flags:',
    ...flagLines(globalFlags),
    '',
    "gantry COMMAND --help tells more. Exit codes: the container's own; 125 gantry failed, 126 the command cannot be",
    'executed, 127 the command was not found, 128+n ended by signal n.',
    '',
  ].join('\n');
}

/** `gantry image`: the commands of a noun, by the names that they have there. */
export function nounHelp(noun: string, commands: readonly Command[]): string {
  const rows = commands.flatMap(({ name, aliases = [], summary }) => {
    const here = [name, ...aliases].find((one) => one.startsWith(`${noun} `));
    return here === undefined ? [] : [[here.slice(noun.length + 1), summary] as const];
  });
  const width = Math.max(...rows.map(([verb]) => verb.length));
  return [
    `Usage: gantry [flags] ${noun} COMMAND`,
    '',
    'Commands:',
    ...rows.map(([verb, summary]) => `  ${verb.padEnd(width)}  ${summary}`),
    '',
    `gantry ${noun} COMMAND --help tells more.`,
    '',
  ].join('\n');
}

/** `gantry run --help`. */
export function commandHelp(command: Command): string {
  const own = Object.keys(command.flags).length === 0 ? [] : ['', 'Flags:', ...flagLines(command.flags)];
  const { aliases = [] } = command;
  return [
    `Usage: gantry ${command.name} [flags] ${command.usage}`.trimEnd(),
    '',
    command.summary,
    ...(aliases.length === 0 ? [] : ['', `Aliases: ${aliases.join(', ')}`]),
    ...own,
    '',
    'Flags of every command:',
    ...flagLines(globalFlags),
    '',
  ].join('\n');
}

function flagLines(flags: FlagTable): string[] {
  const rows = Object.entries(flags).map(([name, flag]) => [flagSyntax(name, flag), flag.help] as const);
  const width = Math.max(...rows.map(([syntax]) => syntax.length));
  return rows.map(([syntax, help]) => `  ${syntax.padEnd(width)}  ${help}`);
}

function flagSyntax(name: string, flag: Flag): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
  return `${short}--${name}${flag.type === 'boolean' ? '' : ` ${flag.value ?? 'VALUE'}`}`;
}
