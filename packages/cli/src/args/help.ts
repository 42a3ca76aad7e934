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

/** `gantry run --help`. */
export function commandHelp(command: Command): string {
  const own = Object.keys(command.flags).length === 0 ? [] : ['', 'Flags:', ...flagLines(command.flags)];
  return [
    `Usage: gantry ${command.name} [flags] ${command.usage}`.trimEnd(),
    '',
    command.summary,
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
