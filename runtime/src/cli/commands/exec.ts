/** `exec`: one more process in a container. */
import { failedPrecondition } from '@gantry/errors';
import { linux } from '@gantry/libc';
import type { Container } from '../../container.ts';
import type { Flag, Parsed } from '../arguments.ts';
import type { Command, Context } from '../command.ts';
import { ExitStatus } from '../command.ts';
import { checkConsole, connectSocket, sendConsole, sendPidfd } from '../console-socket.ts';
import { execProcess } from '../exec-process.ts';
import { Foreground } from '../foreground.ts';
import { writePidFile } from '../pid-file.ts';
import { preservedDescriptors } from '../preserved.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';
import { subCgroup } from '../sub-cgroup.ts';
import { hostTerminal, sizedLike } from '../terminal-relay.ts';

const EXEC_TIMEOUT_MS = 120_000;

/** The exit status of an `exec` that failed before its process ran, and of no process that a shell reports. */
const FAILED = 255;

const flags: readonly Flag[] = [
  { name: 'console-socket', kind: 'text', help: "unix socket that gets the terminal's master" },
  { name: 'pidfd-socket', kind: 'text', help: 'unix socket that gets a pidfd of the process' },
  { name: 'cwd', kind: 'text', help: 'working directory in the container' },
  { name: 'env', aliases: ['e'], kind: 'list', help: 'NAME=value' },
  { name: 'tty', aliases: ['t'], kind: 'switch', help: 'give the process a terminal' },
  { name: 'user', aliases: ['u'], kind: 'text', help: 'UID[:GID]' },
  { name: 'additional-gids', aliases: ['g'], kind: 'list', help: 'supplementary group id' },
  { name: 'process', aliases: ['p'], kind: 'text', help: 'process.json; replaces all that is said by flags' },
  { name: 'detach', aliases: ['d'], kind: 'switch', help: 'return when the program runs' },
  { name: 'pid-file', kind: 'text', help: 'file that gets the pid of the process' },
  { name: 'process-label', kind: 'text', help: 'SELinux label' },
  { name: 'apparmor', kind: 'text', help: 'AppArmor profile' },
  { name: 'no-new-privs', kind: 'switch', help: 'set no_new_privs' },
  { name: 'cap', aliases: ['c'], kind: 'list', help: 'add a capability' },
  {
    name: 'preserve-fds',
    kind: 'number',
    help: 'as many descriptors from 3 on (after LISTEN_FDS) go into the container',
  },
  { name: 'cgroup', kind: 'list', help: "[CONTROLLER:]PATH of a group below the container's" },
  { name: 'ignore-paused', kind: 'switch', help: 'also when the container is paused' },
];

export const exec: Command = {
  name: 'exec',
  usage: 'exec [options] ID COMMAND [ARG…]   or   exec --process FILE ID',
  summary: 'run one more process in a container',
  flags,
  words: [1, Number.POSITIVE_INFINITY],
  flagsFirst: true,
  async run(context, parsed) {
    try {
      return await execute(context, parsed);
    } catch (err) {
      throw new ExitStatus(err, FAILED);
    }
  },
};

async function execute({ root }: Context, { given, rest: [id = '', ...words] }: Parsed): Promise<number> {
  const stored = StoredContainer.load(root, id);
  const { status } = stored;
  if (status === 'stopped') throw failedPrecondition('cannot exec in a stopped container');
  const ignorePaused = given.on('ignore-paused');
  if (status === 'paused' && !ignorePaused) {
    throw failedPrecondition('cannot exec in a paused container (use --ignore-paused to override)');
  }
  const preserved = preservedDescriptors(given.number('preserve-fds'));
  const asked = execProcess(stored.spec, given, words);
  const process = preserved.env.length === 0 ? asked : { ...asked, env: [...(asked.env ?? []), ...preserved.env] };
  const detached = given.on('detach');
  const consoleSocket = given.text('console-socket');
  checkConsole({ terminal: process.terminal ?? false, detached, consoleSocket });
  const host = process.terminal === true && !detached ? hostTerminal() : undefined;
  const socket = consoleSocket === '' ? undefined : connectSocket('console', consoleSocket);
  const pidfdSocket = given.text('pidfd-socket');
  const pidfdReceiver = pidfdSocket === '' ? undefined : connectSocket('pidfd', pidfdSocket);
  const cgroup = subCgroup(stored, given.list('cgroup'));
  const foreground = detached ? undefined : new Foreground({ subreaper: false });
  const executed = lockedOpen(stored).exec({
    process: host === undefined ? process : sizedLike(host, process),
    stdio: { stdin: 0, stdout: 1, stderr: 2 },
    preservedFds: preserved.count,
    ignorePaused,
    ...(cgroup === undefined ? {} : { cgroup }),
    timeoutMs: EXEC_TIMEOUT_MS,
  });
  const master = executed.console;
  if (socket !== undefined && master !== undefined) sendConsole(socket, master);
  try {
    if (pidfdReceiver !== undefined) sendPidfd(pidfdReceiver, 'setns', executed.pid);
    writePidFile(given.text('pid-file'), executed.pid);
  } catch (err) {
    linux.kill(executed.pid, 9);
    throw err;
  }
  if (foreground === undefined) return 0;
  const terminal = master === undefined || host === undefined ? undefined : { master, host };
  return await foreground.wait(executed.pid, terminal);
}

/** Not between two steps of another command; the process itself may take its time. */
function lockedOpen(stored: StoredContainer): Container {
  using _ = new ContainerLock(stored.directory);
  return stored.open();
}
