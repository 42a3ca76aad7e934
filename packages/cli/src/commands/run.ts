/** `gantry run`: a container from an image, started, and followed until it ends. */
import { invalidArgument, isCode } from '@gantry/errors';
import type { Client, CreateContainerOptions, StdioRequest, TaskProcess } from '@gantry/client';
import type { Mount } from '@gantry/oci';
import type { Command, Context, FlagTable, Parsed } from '../args/command.ts';
import { userNamespaceOf } from '../args/user-namespace.ts';
import { parseBytes, parseCpus, parseEnv, parseMount, parseVolume } from '../args/values.ts';
import { runAttached } from '../attach/run-attached.ts';
import { requireTerminal, terminalSize } from '../attach/terminal.ts';
import { randomId, shortId } from '../containers/ids.ts';
import { autoRemoveLabel, logPathLabel } from '../containers/labels.ts';
import { logFileOf } from '../containers/log-file.ts';
import { removeWithLog } from '../containers/remove.ts';
import { startFailureStatus } from '../exit-codes.ts';
import { credentialsOf } from '../registry/credentials.ts';
import { ensureImage, errorScreen, pullPolicies } from '../registry/pull.ts';
import type { PullPolicy } from '../registry/pull.ts';
import { arg, flagGiven, flagValue, processFlags } from './flags.ts';
import { sentence } from '../output/sentence.ts';

const flags: FlagTable = {
  rm: { type: 'boolean', help: 'remove the container when it has ended (not with -d)' },
  detach: { type: 'boolean', short: 'd', help: 'leave it running and print its id; see logs' },
  name: { type: 'string', value: 'NAME', help: 'id of the container; default: a random one' },
  ...processFlags,
  entrypoint: { type: 'string', value: 'COMMAND', help: "instead of the image's entrypoint" },
  mount: { type: 'list', value: 'type=bind,src=…,dst=…[,ro]', help: 'a host directory, or type=tmpfs,dst=…' },
  volume: { type: 'list', short: 'v', value: 'SOURCE:DESTINATION[:ro]', help: 'the same, shorter' },
  memory: { type: 'string', short: 'm', value: 'SIZE', help: 'limit, e.g. 512m' },
  cpus: { type: 'string', value: 'NUMBER', help: 'limit of processor time, e.g. 1.5' },
  'read-only': { type: 'boolean', help: 'the root file system cannot be written' },
  hostname: { type: 'string', value: 'NAME', help: 'default: the id' },
  network: { type: 'string', value: 'none|host', help: 'none (default): loopback only' },
  'net-host': { type: 'boolean', help: 'the same as --network host' },
  userns: {
    type: 'string',
    value: 'host|NAME',
    help: 'a user namespace with the ids that /etc/subuid and /etc/subgid give to NAME; host (default): none',
  },
  uidmap: {
    type: 'list',
    value: 'CONTAINER:HOST:LENGTH',
    help: 'a user namespace with these user ids; the image is shared all the same. Alone it says the groups too',
  },
  gidmap: { type: 'list', value: 'CONTAINER:HOST:LENGTH', help: 'the same for group ids' },
  label: { type: 'list', short: 'l', value: 'KEY=VALUE', help: 'label of the container record' },
  pull: { type: 'string', value: 'missing|always|never', help: 'when to pull the image; default missing' },
  runtime: { type: 'string', value: 'NAME', help: 'runtime handler; default io.containerd.runc.v2' },
};

export const runCommand: Command = {
  name: 'run',
  usage: 'IMAGE [COMMAND] [ARG...]',
  summary: 'Runs a command in a new container',
  flags,
  minArgs: 1,
  maxArgs: Infinity,
  stopsAtFirstArg: true,
  run,
};

async function run(context: Context): Promise<number> {
  const { parsed } = context;
  const detach = flagGiven(parsed, 'detach');
  const remove = flagGiven(parsed, 'rm');
  const terminal = flagGiven(parsed, 'tty');
  const stdin = flagGiven(parsed, 'interactive');
  if (detach && remove) throw invalidArgument('--rm needs somebody who waits: it cannot be used with -d');
  if (terminal && stdin && !detach) requireTerminal();
  const client = context.client();
  const id = parsed.strings.get('name') ?? randomId();
  const logFile = detach ? logFileOf(client.namespace, id) : undefined;
  await createFromFlags(client, id, parsed, logFile);
  const stdio: StdioRequest = logFile === undefined ? { kind: 'pipes', stdin } : { kind: 'file', path: logFile };
  const task = await begin(context, client, id, () => client.createTask(id, { stdio }));
  if (typeof task === 'number') return task;
  if (detach) {
    const failed = await begin(context, client, id, () => task.start());
    task.detach();
    if (typeof failed === 'number') return failed;
    context.write(`${id}\n`);
    return 0;
  }
  return follow(context, client, task, { terminal, stdin, remove });
}

/** Runs a step of the start; a failure is reported, what was made is removed, and the exit status returned. */
async function begin<T>(context: Context, client: Client, id: string, step: () => Promise<T>): Promise<T | number> {
  try {
    return await step();
  } catch (err) {
    context.warn(`container "${shortId(id)}": ${sentence(err)}`);
    await removeQuietly(context, client, id);
    return startFailureStatus(err);
  }
}

interface FollowOptions {
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly remove: boolean;
}

async function follow(context: Context, client: Client, task: TaskProcess, options: FollowOptions): Promise<number> {
  let startFailure: unknown;
  try {
    const result = await runAttached(task, options, async () => {
      try {
        await task.start();
      } catch (err) {
        startFailure = err;
        throw err;
      }
    });
    // A failure to clean up is told, and does not hide how the container ended.
    if (options.remove) await removeQuietly(context, client, task.containerId);
    else if (!result.outputClosed) task.streams?.close();
    return result.exitStatus;
  } catch (err) {
    // A container that never ran is of no use to anybody.
    if (options.remove || startFailure !== undefined) await removeQuietly(context, client, task.containerId);
    if (startFailure === undefined) throw err;
    context.warn(sentence(err));
    return startFailureStatus(startFailure);
  } finally {
    task.detach();
  }
}

/** As docker gives it: programs look up their own limits there. */
const cgroupMount: Mount = {
  destination: '/sys/fs/cgroup',
  type: 'cgroup',
  source: 'cgroup',
  options: ['ro', 'nosuid', 'noexec', 'nodev'],
};

async function removeQuietly(context: Context, client: Client, id: string): Promise<void> {
  try {
    await removeWithLog(client, id, { force: true });
  } catch (err) {
    if (!isCode(err, 'not found')) context.warn(`removing "${shortId(id)}": ${sentence(err)}`);
  }
}

async function createFromFlags(client: Client, id: string, parsed: Parsed, logFile: string | undefined): Promise<void> {
  const image = arg(parsed, 0);
  const args = parsed.args.slice(1);
  const network = networkOf(parsed);
  const entrypoint = parsed.strings.get('entrypoint');
  const options: CreateContainerOptions = {
    id,
    image,
    args: args.length > 0 ? args : undefined,
    entrypoint: entrypoint === undefined ? undefined : [entrypoint].filter((word) => word !== ''),
    env: (parsed.lists.get('env') ?? []).map((text) => parseEnv(text, process.env)),
    user: parsed.strings.get('user'),
    workdir: parsed.strings.get('workdir'),
    terminal: flagGiven(parsed, 'tty'),
    terminalSize: terminalSize(),
    privileged: flagGiven(parsed, 'privileged'),
    readOnly: flagGiven(parsed, 'read-only'),
    memoryBytes: flagValue(parsed, 'memory', (text) => parseBytes(text, '--memory')),
    cpus: flagValue(parsed, 'cpus', parseCpus),
    mounts: [
      cgroupMount,
      ...(parsed.lists.get('mount') ?? []).map(parseMount),
      ...(parsed.lists.get('volume') ?? []).map(parseVolume),
    ],
    network,
    userNamespace: userNamespaceOf({
      userns: parsed.strings.get('userns'),
      uidmap: parsed.lists.get('uidmap') ?? [],
      gidmap: parsed.lists.get('gidmap') ?? [],
    }),
    hostname: parsed.strings.get('hostname') ?? (network === 'host' ? undefined : hostnameOf(id)),
    runtime: parsed.strings.get('runtime'),
    labels: labelsOf(parsed, logFile),
  };
  const registry = { credentials: credentialsOf(undefined), snapshotter: client.snapshots.snapshotter };
  await ensureImage(client, image, policyOf(parsed), registry, errorScreen());
  await client.createContainer(options);
}

function policyOf(parsed: Parsed): PullPolicy {
  const text = parsed.strings.get('pull') ?? 'missing';
  const policy = pullPolicies.find((name) => name === text);
  if (policy === undefined) throw invalidArgument(`flag --pull: "${text}" is not ${pullPolicies.join(', ')}`);
  return policy;
}

function networkOf(parsed: Parsed): 'none' | 'host' {
  if (flagGiven(parsed, 'net-host')) return 'host';
  const network = parsed.strings.get('network') ?? 'none';
  if (network !== 'none' && network !== 'host') {
    throw invalidArgument(`flag --network: "${network}" is not none or host`);
  }
  return network;
}

/** The kernel takes 64 bytes; a name may be longer. */
function hostnameOf(id: string): string {
  return shortId(id).slice(0, 63);
}

function labelsOf(parsed: Parsed, logFile: string | undefined): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const text of parsed.lists.get('label') ?? []) {
    const [key = '', ...value] = text.split('=');
    if (key === '') throw invalidArgument(`flag --label: "${text}" has no key`);
    labels[key] = value.join('=');
  }
  if (logFile !== undefined) labels[logPathLabel] = logFile;
  if (flagGiven(parsed, 'rm')) labels[autoRemoveLabel] = 'true';
  return labels;
}
