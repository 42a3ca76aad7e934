/** One command line from argv to exit status. */
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { invalidArgument } from '@gantry/errors';
import type { Context } from './args/command.ts';
import { commandHelp, generalHelp, nounHelp } from './args/help.ts';
import { parseCommandLine } from './args/parse.ts';
import { parseSeconds } from './args/values.ts';
import { flagValue } from './commands/flags.ts';
import { commands } from './commands/index.ts';
import { gantryFailed } from './exit-codes.ts';
import { visible } from './output/table.ts';
import { sentence } from './output/sentence.ts';

/** Runs it. Results go to stdout; every failure is one line on stderr. Never throws. */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  let client: Client | undefined;
  try {
    const request = parseCommandLine(argv, commands);
    if (request.kind === 'help') {
      const { command, noun } = request;
      if (command !== undefined) write(commandHelp(command));
      else write(noun === undefined ? generalHelp(commands) : nounHelp(noun, commands));
      return 0;
    }
    const { command, parsed } = request;
    const context: Context = {
      parsed,
      format: formatOf(parsed.strings.get('format') ?? 'table'),
      client: () =>
        (client ??= connect({
          address: parsed.strings.get('address'),
          namespace: parsed.strings.get('namespace'),
          timeoutMs: flagValue(parsed, 'timeout', (text) => parseSeconds(text, '--timeout')),
        })),
      write,
      warn,
    };
    return await command.run(context);
  } catch (err) {
    warn(sentence(err));
    return gantryFailed;
  } finally {
    client?.close();
  }
}

function write(text: string): void {
  process.stdout.write(text);
}

/** What a server or an image says stays on its line. */
function warn(text: string): void {
  process.stderr.write(`gantry: ${visible(text)}\n`);
}

function formatOf(text: string): 'table' | 'json' {
  if (text === 'table' || text === 'json') return text;
  throw invalidArgument(`flag --format: "${text}" is not table or json`);
}
