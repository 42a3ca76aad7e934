export { runCommandLine } from './cli.ts';
export { commands } from './commands/index.ts';
export type { Command, Context, Flag, FlagTable, Parsed } from './args/command.ts';
export { commandHelp, generalHelp } from './args/help.ts';
