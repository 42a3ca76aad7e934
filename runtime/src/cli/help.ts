/** Help texts and the version, in the places where readers of runc's look for them. */
import { supportedOciVersion } from '@gantry/oci';
import type { Flag } from './arguments.ts';
import type { Command } from './command.ts';
import { globalFlags } from './global-options.ts';

/** The first line and `spec:` are what clients read. */
export function versionText(version: string): string {
  return `gantry-runtime version ${version}\nspec: ${supportedOciVersion}\nnode: ${process.version}\n`;
}

export function generalHelp(commands: readonly Command[]): string {
  return [
    'NAME:\n   gantry-runtime - an OCI runtime with the command line of runc\n',
    'USAGE:\n   gantry-runtime [global options] command [command options] [arguments...]\n',
    `COMMANDS:\n${lines(commands.map(({ name, summary }) => [name, summary]))}\n`,
    `GLOBAL OPTIONS:\n${flagLines(globalFlags)}\n`,
  ].join('\n');
}

export function commandHelp({ name, summary, usage, flags }: Command): string {
  const options = flags.length === 0 ? [] : [`OPTIONS:\n${flagLines(flags)}\n`];
  return [`NAME:\n   gantry-runtime ${name} - ${summary}\n`, `USAGE:\n   gantry-runtime ${usage}\n`, ...options].join(
    '\n',
  );
}

function flagLines(flags: readonly Flag[]): string {
  return lines(
    flags.map(({ name, aliases = [], kind, help }) => {
      const value = kind === 'switch' ? '' : ' value';
      const names = [`--${name}${value}`, ...aliases.map((alias) => `-${alias}${value}`)];
      return [names.join(', '), help];
    }),
  );
}

function lines(rows: readonly (readonly [string, string] | readonly string[])[]): string {
  const width = Math.max(...rows.map(([left = '']) => left.length));
  return rows.map(([left = '', right = '']) => `   ${left.padEnd(width)}  ${right}`).join('\n');
}
