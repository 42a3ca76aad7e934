/** `gantry exec`: a further process in a running container. */
import type { StdioRequest } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { parseEnv } from '../args/values.ts';
import { runAttached } from '../attach/run-attached.ts';
import { requireTerminal, terminalSize } from '../attach/terminal.ts';
import { resolveId } from '../containers/ids.ts';
import { startFailureStatus } from '../exit-codes.ts';
import { arg, flagGiven, processFlags } from './flags.ts';
import { sentence } from '../output/sentence.ts';

export const execCommand: Command = {
  name: 'exec',
  usage: 'CONTAINER COMMAND [ARG...]',
  summary: 'Runs a command in a running container',
  flags: { detach: { type: 'boolean', short: 'd', help: 'do not wait for it, and drop its output' }, ...processFlags },
  minArgs: 2,
  maxArgs: Infinity,
  stopsAtFirstArg: true,
  run,
};

async function run(context: Context): Promise<number> {
  const { parsed } = context;
  const terminal = flagGiven(parsed, 'tty');
  const stdin = flagGiven(parsed, 'interactive');
  const detach = flagGiven(parsed, 'detach');
  if (terminal && stdin && !detach) requireTerminal();
  const client = context.client();
  const id = await resolveId(client, arg(parsed, 0));
  const stdio: StdioRequest = detach ? { kind: 'null' } : { kind: 'pipes', stdin };
  let failed: unknown;
  let started: Awaited<ReturnType<typeof client.exec>> | undefined;
  try {
    const exec = await client.exec(id, {
      args: parsed.args.slice(1),
      stdio,
      env: (parsed.lists.get('env') ?? []).map((text) => parseEnv(text, process.env)),
      user: parsed.strings.get('user'),
      workdir: parsed.strings.get('workdir'),
      terminal,
      terminalSize: terminalSize(),
      privileged: flagGiven(parsed, 'privileged'),
    });
    started = exec;
    const begin = async (): Promise<void> => {
      try {
        await exec.start();
      } catch (err) {
        failed = err;
        throw err;
      }
    };
    if (detach) {
      await begin();
      exec.detach();
      return 0;
    }
    const { exitStatus, outputClosed } = await runAttached(exec, { terminal, stdin }, begin);
    if (outputClosed) await exec.destroy();
    else await exec.delete();
    return exitStatus;
  } catch (err) {
    await started?.destroy().catch(() => undefined);
    if (failed === undefined) throw err;
    context.warn(sentence(err));
    return startFailureStatus(failed);
  }
}
