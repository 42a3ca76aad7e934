/** Making a container for `create` and `run`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { linux, SOCK_SEQPACKET } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { CleanUp } from '../clean-up.ts';
import type { Container } from '../container.ts';
import { createContainer } from '../create.ts';
import { deleteLeftovers } from '../delete.ts';
import { isUnprivileged } from '../rootless.ts';
import type { Given } from './arguments.ts';
import { enterBundle, rootfsOf } from './bundle.ts';
import type { Context } from './command.ts';
import { checkConsole, connectSocket, sendConsole, sendPidfd } from './console-socket.ts';
import type { ProcessTerminal } from './foreground.ts';
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
export function launch({ root, options }: Context, unsafeId: string, given: Given, detached: boolean): Launched {
  const pidFile = absolute(given.text('pid-file'));
  const consoleSocket = absolute(given.text('console-socket'));
  const pidfdSocket = absolute(given.text('pidfd-socket'));
  const bundle = enterBundle(given.text('bundle'));
  const preserved = preservedDescriptors(given.number('preserve-fds'));
  let spec = withEnvironment(bundle.spec, preserved.env);
  const terminal = spec.process?.terminal ?? false;
  checkConsole({ terminal, detached, consoleSocket });
  const host = terminal && !detached ? hostTerminal() : undefined;
  if (host !== undefined && spec.process !== undefined) spec = { ...spec, process: sizedLike(host, spec.process) };
  const rootfs = rootfsOf(bundle);
  const cleanUp = new CleanUp();
  try {
    const directory = root.claim(unsafeId);
    cleanUp.add(() => root.remove(unsafeId));
    using _ = new ContainerLock(directory);
    const socket = consoleSocket === '' ? undefined : connectSocket('console', consoleSocket);
    const pidfdReceiver = pidfdSocket === '' ? undefined : connectSocket('pidfd', pidfdSocket);
    const startListener = withStartSocket(directory, (path) => linux.listenUnix(path, SOCK_SEQPACKET));
    const noNewKeyring = given.on('no-new-keyring');
    const container = createContainer(linux, {
      id: unsafeId,
      bundle: bundle.path,
      stateDir: directory,
      spec,
      rootfs: [],
      stdio: { stdin: 0, stdout: 1, stderr: 2 },
      noPivot: given.on('no-pivot'),
      rootless: options.rootless === 'auto' ? needsNoGroup() : options.rootless,
      noNewKeyring,
      preservedFds: preserved.count,
      startListener,
      timeoutMs: CREATE_TIMEOUT_MS,
    });
    cleanUp.add(() => deleteLeftovers(linux, directory));
    linux.close(startListener);
    const master = container.console;
    if (socket !== undefined && master !== undefined) sendConsole(socket, master);
    if (pidfdReceiver !== undefined) sendPidfd(pidfdReceiver, 'standard', container.pid);
    writeRecord(directory, { id: unsafeId, bundle: bundle.path, rootfs, created: timestamp(), noNewKeyring }, spec);
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

function withEnvironment(spec: Spec, env: readonly string[]): Spec {
  if (env.length === 0 || spec.process === undefined) return spec;
  return { ...spec, process: { ...spec.process, env: [...(spec.process.env ?? []), ...env] } };
}
