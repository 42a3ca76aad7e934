/**
 * Shims that are not ours: any program that keeps containerd's shim protocol (runc-v2, kata, runsc, …).
 *
 *   gantryd                       SHIM start                     SHIM
 *   bundle, `start` on stdin ──►  makes it, or finds it  ───►    listens
 *   bootstrap.json           ◄──  where it listens
 *   Connect                  ─────────────────────────────────►  who it is
 *   Create, Start, …         ─────────────────────────────────►
 *                            ◄─────────────────────────────────  events, on TTRPC_ADDRESS
 *   Shutdown                 ─────────────────────────────────►  ends when it has no container left
 *   `delete`, when it is dead: ends what is left, says how the container ended
 *
 * One shim may have several containers (a pod's): it is never killed while another task has it.
 */
import { unlink } from 'node:fs/promises';
import path from 'node:path';
import { nowNs, taskV3, timestampToNs, wellKnown } from '@gantry/api';
import { messageOf, unavailable, wrap } from '@gantry/errors';
import type { Timeouts } from '../../timeouts.ts';
import { ShimConnection } from '../connection.ts';
import type { LaunchedShim, Remains, ShimRequest } from '../launcher.ts';
import { identify, killProcess, processGone } from '../process-identity.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import { parseBootstrap } from './bootstrap.ts';
import type { Bootstrap } from './bootstrap.ts';
import { fillBundle, foreignBinary, isInSandbox, readBootstrap, writeBootstrap } from './foreign-bundle.ts';
import { runAction } from './run-action.ts';
import type { ActionOutput } from './run-action.ts';

export interface ForeignShimsOptions {
  /** The gRPC socket. */
  readonly address: string;
  /** The socket that takes shims' events. */
  readonly eventsPath: string;
  /** The program with which a shim of the oldest kind publishes its events (`gantryd publish`). */
  readonly publishBinary: string;
  readonly timeouts: Timeouts;
  readonly log: { warn(fields: object, text: string): void };
}

/** What a container of somebody else's shim is made of. */
export interface ForeignContents {
  readonly binary: string;
  /** config.json as the client wrote it. */
  readonly config: Uint8Array;
  /** For the shim; it alone knows what they mean. */
  readonly options: wellKnown.Any | undefined;
}

/** A sandbox whose shim runs. */
export interface RunningSandbox {
  readonly id: string;
  /** Our own bundle of it, or what the controller in another process says of where the task API is. */
  readonly at: string | Bootstrap;
}

const SIGKILL = 9;

export class ForeignShims {
  readonly #options: ForeignShimsOptions;

  constructor(options: ForeignShimsOptions) {
    this.#options = options;
  }

  /**
   * Gets a shim for the bundle, which exists and is empty. What of it is there after a failure the bundle says: `end`
   * takes it back.
   */
  async launch(request: ShimRequest, contents: ForeignContents): Promise<LaunchedShim<ProcessIdentity | undefined>> {
    return await this.#introduced(await this.bootstrap(request, contents), request.id);
  }

  /** The first half of `launch`: a shim that listens, and may be one without the task API. */
  async bootstrap(request: ShimRequest, { binary, config, options }: ForeignContents): Promise<ShimConnection> {
    const { bundle } = request;
    await fillBundle(bundle, binary, config);
    const input = options === undefined ? new Uint8Array() : wellKnown.Any.encode(options);
    const { stdout } = await this.#act(request, binary, 'start', this.#options.timeouts.shimStartMs, input);
    await writeBootstrap(bundle, parseBootstrap(stdout));
    return await this.connect(bundle);
  }

  /** Makes the bundle one of a container in a sandbox, whose shim it gets: no process is started, and none is ended for it. */
  async join(
    { bundle, id }: ShimRequest,
    { binary, config }: ForeignContents,
    sandbox: RunningSandbox,
  ): Promise<LaunchedShim<ProcessIdentity | undefined>> {
    await fillBundle(bundle, binary, config, sandbox.id);
    const found = typeof sandbox.at === 'string' ? await readBootstrap(sandbox.at) : sandbox.at;
    if (found === undefined) throw unavailable(`sandbox ${sandbox.id} does not say where its shim listens`);
    await writeBootstrap(bundle, found);
    return await this.#introduced(await this.connect(bundle), id);
  }

  /** Asks a shim that listens who it is. */
  async #introduced(connection: ShimConnection, id: string): Promise<LaunchedShim<ProcessIdentity | undefined>> {
    try {
      const limits = { timeoutMs: this.#options.timeouts.shimStartMs };
      const { shimPid } = await connection.call('connect', { id }, limits);
      return { process: identify(shimPid), connection, adopted: Promise.resolve() };
    } catch (err) {
      connection.close();
      throw wrap(err, 'asking the shim who it is');
    }
  }

  /** Connects with the shim of a bundle. Throws unavailable when nobody listens, or nobody knows where. */
  async connect(bundle: string): Promise<ShimConnection> {
    const found = await readBootstrap(bundle);
    if (found === undefined) throw unavailable('the bundle does not say where its shim listens');
    return await ShimConnection.connect(found.address, this.#options.timeouts.shimLoadMs, found);
  }

  /** Has the binary clean up after a dead shim. Can be repeated. */
  async cleanUp(request: ShimRequest): Promise<Remains> {
    const { bundle } = request;
    const binary = foreignBinary(bundle) ?? '';
    const { stdout, stderr } = await this.#act(request, binary, 'delete', this.#options.timeouts.shimCleanupMs);
    const said = stderr.trim();
    if (said !== '') this.#options.log.warn({ ns: request.namespace, container: request.id, said }, 'shim delete');
    const { pid, exitStatus, exitedAt } = taskV3.DeleteResponse.decode(stdout);
    await removeSocket(bundle);
    return { pid, exitStatus, exitedAtNs: exitedAt === undefined ? nowNs() : timestampToNs(exitedAt) };
  }

  /**
   * Ends a container and, when no other has it, its shim; then cleans up. For what was half-made. Throws when something
   * does not end; of a shim that never came up nothing can be, whatever its binary says.
   */
  async end(request: ShimRequest, process: ProcessIdentity | undefined, shared: boolean): Promise<void> {
    const { id, bundle } = request;
    const { shimShutdownMs } = this.#options.timeouts;
    const connection = await this.connect(bundle).catch(() => undefined);
    if (connection !== undefined) {
      const limits = { timeoutMs: shimShutdownMs };
      const ask = async (call: Promise<unknown>): Promise<void> => {
        await call.catch(() => undefined); // it has no such task, or does not answer: `delete` is still to come
      };
      await ask(connection.call('kill', { id, signal: SIGKILL, all: true }, limits));
      await ask(connection.call('wait', { id }, limits));
      await ask(connection.call('delete', { id }, limits));
      if (!isInSandbox(bundle)) await ask(connection.call('shutdown', { id }, limits));
      connection.close();
    }
    if (process !== undefined && !shared && !(await processGone(process, 200)) && killProcess(process))
      await processGone(process, shimShutdownMs);
    const cameUp = process !== undefined || (await readBootstrap(bundle)) !== undefined;
    try {
      await this.cleanUp(request);
    } catch (err) {
      if (cameUp) throw err;
      this.#options.log.warn({ ns: request.namespace, container: id, err: messageOf(err) }, 'shim delete');
    }
  }

  async #act(
    { namespace, id, bundle }: ShimRequest,
    binary: string,
    action: 'start' | 'delete',
    timeoutMs: number,
    input: Uint8Array = new Uint8Array(),
  ): Promise<ActionOutput> {
    const { address, eventsPath, publishBinary } = this.#options;
    const who = ['-namespace', namespace, '-address', address, '-publish-binary', publishBinary, '-id', id];
    const args = [...who, ...(action === 'delete' ? ['-bundle', bundle] : []), action];
    const env = {
      ...definedEnvironment(),
      TTRPC_ADDRESS: eventsPath,
      GRPC_ADDRESS: address,
      NAMESPACE: namespace,
      MAX_SHIM_VERSION: '2',
      GOMAXPROCS: '2',
    };
    return await runAction({ binary, args, cwd: bundle, env, input, timeoutMs });
  }
}

/** A shim that was killed leaves its socket. */
async function removeSocket(bundle: string): Promise<void> {
  const found = await readBootstrap(bundle);
  if (found === undefined) return;
  const alive = await ShimConnection.connect(found.address, 200, found).catch((err: unknown) => messageOf(err));
  if (typeof alive === 'string') await unlink(found.address.replace('unix://', '')).catch(() => undefined);
  else alive.close();
}

/** Somebody else's program may need what the administrator gave us: proxies, its own settings. */
function definedEnvironment(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) found[name] = value;
  // Programs that node runs, as our own shim, are found also where gantryd was started by the path of node.
  found['PATH'] = [found['PATH'], path.dirname(process.execPath)].filter(Boolean).join(':');
  return found;
}
