/** Making a container for `create`, `run` and `restore`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { notImplemented } from '@gantry/errors';
import { linux, SOCK_SEQPACKET } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { CleanUp } from '../clean-up.ts';
import type { Container, Stdio } from '../container.ts';
import { createContainer } from '../create.ts';
import type { RestoreSettings } from '../criu/options.ts';
import { deleteLeftovers } from '../delete.ts';
import { restoreContainer } from '../restore.ts';
import { isUnprivileged } from '../rootless.ts';
import type { Given } from './arguments.ts';
import { enterBundle, rootfsOf } from './bundle.ts';
import type { Context } from './command.ts';
import { checkConsole, connectSocket, sendConsole, sendPidfd } from './console-socket.ts';
import type { ProcessTerminal } from './foreground.ts';
import { withNotifySocket } from './notify-socket.ts';
import { writePidFile } from './pid-file.ts';
import { preservedDescriptors } from './preserved.ts';
import { timestamp, writeRecord } from './record.ts';
import { ContainerLock } from './state-root.ts';
import { withStartSocket } from './stored-container.ts';
import { hostTerminal, sizedLike } from './terminal-relay.ts';

/** Hooks may take their time; what a set-up itself does is over within a second. */
const CREATE_TIMEOUT_MS = 600_000;

export interface Launched {
  readonly container: Container;
  readonly directory: string;
  /** When nobody else got the terminal's master. */
  readonly terminal: ProcessTerminal | undefined;
}

/**
 * Creates the container of the bundle; init waits on the start socket. `pidFile` is relative to where the command was
 * called, not to the bundle. After a failure nothing is left.
 */
export function launch(context: Context, unsafeId: string, given: Given, detached: boolean): Launched {
  const { options } = context;
  const preserved = preservedDescriptors(given.number('preserve-fds'));
  return enterAndMake(context, unsafeId, given, detached, ({ bundle, directory, spec: plain }) => {
    const spec = withNotifySocket(withEnvironment(plain, preserved.env), directory);
    const startListener = withStartSocket(directory, (path) => linux.listenUnix(path, SOCK_SEQPACKET));
    const container = createContainer(linux, {
      id: unsafeId,
      bundle,
      stateDir: directory,
      spec,
      rootfs: [],
      stdio,
      noPivot: given.on('no-pivot'),
      rootless: options.rootless === 'auto' ? needsNoGroup() : options.rootless,
      noNewKeyring: given.on('no-new-keyring'),
      systemdCgroup: options.systemdCgroup,
      preservedFds: preserved.count,
      startListener,
      timeoutMs: CREATE_TIMEOUT_MS,
    });
    linux.close(startListener);
    return container;
  });
}

/** Restores the container of the bundle from its checkpoint; otherwise as `launch`. */
export function launchRestored(
  context: Context,
  unsafeId: string,
  given: Given,
  detached: boolean,
  checkpoint: RestoreSettings,
): Launched {
  // The group that criu restores into has nobody in it, and systemd makes no such.
  if (context.options.systemdCgroup) throw notImplemented('restore with --systemd-cgroup');
  return enterAndMake(context, unsafeId, given, detached, ({ bundle, directory, spec }) =>
    restoreContainer(linux, {
      id: unsafeId,
      bundle,
      stateDir: directory,
      spec,
      rootfs: [],
      stdio,
      checkpoint,
    }),
  );
}

const stdio: Stdio = { stdin: 0, stdout: 1, stderr: 2 };

interface Made {
  /** Absolute path; the working directory. */
  readonly bundle: string;
  readonly directory: string;
  readonly spec: Spec;
}

function enterAndMake(
  { root }: Context,
  unsafeId: string,
  given: Given,
  detached: boolean,
  make: (from: Made) => Container,
): Launched {
  const pidFile = absolute(given.text('pid-file'));
  const consoleSocket = absolute(given.text('console-socket'));
  const pidfdSocket = absolute(given.text('pidfd-socket'));
  const bundle = enterBundle(given.text('bundle'));
  const terminal = bundle.spec.process?.terminal ?? false;
  checkConsole({ terminal, detached, consoleSocket });
  const host = terminal && !detached ? hostTerminal() : undefined;
  const spec = host === undefined ? bundle.spec : sizedFor(host, bundle.spec);
  const rootfs = rootfsOf(bundle);
  const cleanUp = new CleanUp();
  try {
    const directory = root.claim(unsafeId);
    cleanUp.add(() => root.remove(unsafeId));
    using _ = new ContainerLock(directory);
    const socket = consoleSocket === '' ? undefined : connectSocket('console', consoleSocket);
    const pidfdReceiver = pidfdSocket === '' ? undefined : connectSocket('pidfd', pidfdSocket);
    const container = make({ bundle: bundle.path, directory, spec });
    cleanUp.add(() => deleteLeftovers(linux, directory));
    const master = container.console;
    if (socket !== undefined && master !== undefined) sendConsole(socket, master);
    if (pidfdReceiver !== undefined) sendPidfd(pidfdReceiver, 'standard', container.pid);
    const noNewKeyring = given.on('no-new-keyring');
    const record = { id: unsafeId, bundle: bundle.path, rootfs, created: timestamp(), noNewKeyring };
    writeRecord(directory, record, container.spec);
    writePidFile(pidFile, container.pid);
    return {
      container,
      directory,
      terminal: master === undefined || host === undefined ? undefined : { master, host },
    };
  } catch (err) {
    cleanUp.run();
    throw err;
  }
}

/** For an ordinary user, and for the root of a user namespace. */
function needsNoGroup(): boolean {
  return isUnprivileged() || !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'));
}

function absolute(path: string): string {
  return path === '' || path.startsWith('/') ? path : join(process.cwd(), path);
}

function sizedFor(host: number, spec: Spec): Spec {
  return spec.process === undefined ? spec : { ...spec, process: sizedLike(host, spec.process) };
}

function withEnvironment(spec: Spec, env: readonly string[]): Spec {
  if (env.length === 0 || spec.process === undefined) return spec;
  return { ...spec, process: { ...spec.process, env: [...(spec.process.env ?? []), ...env] } };
}
