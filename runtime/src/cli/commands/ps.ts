/** `ps`: the processes of a container. */
import { failedPrecondition, internal, invalidArgument } from '@gantry/errors';
import type { Command } from '../command.ts';
import { print } from '../report.ts';
import { StoredContainer } from '../stored-container.ts';

export const ps: Command = {
  name: 'ps',
  usage: 'ps [options] ID [ps options]',
  summary: 'print the processes of a container',
  flags: [{ name: 'format', aliases: ['f'], kind: 'text', help: 'table (default) or json' }],
  words: [1, Number.POSITIVE_INFINITY],
  flagsFirst: true,
  async run({ root }, { given, rest: [id = '', ...words] }) {
    const format = given.text('format');
    if (!['', 'table', 'json'].includes(format)) throw invalidArgument('invalid format option');
    const stored = StoredContainer.load(root, id);
    if (!stored.isAlive()) throw failedPrecondition('container not running');
    const pids = stored.cgroup.pids();
    if (format === 'json') {
      print(`${JSON.stringify(pids)}\n`);
      return 0;
    }
    print(await linesOf(pids, words.length === 0 ? ['-ef'] : words));
    return 0;
  },
};

/** The lines of ps(1) whose PID column names one of the processes, under its own header. */
async function linesOf(pids: readonly number[], words: readonly string[]): Promise<string> {
  // Five milliseconds that no other command needs.
  const { spawnSync } = await import('node:child_process');
  const { stdout, stderr, status, error } = spawnSync('ps', [...words], { encoding: 'utf8' });
  if (error !== undefined) throw internal(`ps: ${error.message}`);
  if (status !== 0) throw internal(`exit status ${status ?? 'unknown'}: ${stderr}${stdout}`);
  const [header = '', ...lines] = stdout.split('\n');
  const column = header.trim().split(/\s+/).indexOf('PID');
  if (column < 0) throw invalidArgument("couldn't find PID field in ps output");
  const wanted = new Set(pids.map(String));
  const chosen = lines.filter((line) => wanted.has(line.trim().split(/\s+/)[column] ?? ''));
  return [header, ...chosen].map((line) => `${line}\n`).join('');
}
