/**
 * gantryd inside another program: for tests, and for tools that bring their own supervisor.
 *
 * It is the daemon itself, not a likeness: the same services on a unix socket, the same shims as processes of their own,
 * which live on when the program ends and are found again by the next supervisor on the same directories.
 */
import path from 'node:path';
import { invalidArgument } from '@gantry/errors';
import { defaultConfig, loadConfig, parseLogLevel } from './config/config.ts';
import type { Config, LogLevel } from './config/config.ts';
import { startSupervisor as startDaemon } from './daemon.ts';
import { openLog } from './log.ts';

/** A socket's path has to fit into its address, the shims' event socket (`.ttrpc`) too. */
const longestAddress = 107 - '.ttrpc'.length;

export interface SupervisorOptions {
  /** What survives a reboot: metadata, blobs, snapshots. Made 0700 when absent; one supervisor at a time. */
  readonly root: string;
  /** Bundles and shim sockets; made when absent. Keep it short: sockets lie in it. */
  readonly state: string;
  /** The socket; default `<state>/gantry.sock`. */
  readonly address?: string | undefined;
  /** Of what goes to standard error as JSON lines; default `warn`. */
  readonly logLevel?: LogLevel | undefined;
  /** How many shims are kept ready for the next containers; default as in the configuration. */
  readonly spareShims?: number | undefined;
  /** A configuration file to start from; the options above win. Default: none is read. */
  readonly configFile?: string | undefined;
}

/** A supervisor that runs in this process. `await using` ends it; its containers run on. */
export interface EmbeddedSupervisor extends AsyncDisposable {
  /** For `connect({ address })`. */
  readonly address: string;
  /** Resolves when every task found at the start has been judged; the API is served before that. */
  readonly reconciled: Promise<void>;
  /** Takes no new calls, lets those under way end, lets go of the shims. May be called again. */
  close(): Promise<void>;
}

/**
 * Starts a supervisor in this process and resolves when its socket answers. Needs root for containers. Every descriptor
 * that this process has open gets close-on-exec, as Node's own have. Throws already exists when another supervisor works
 * on `root`, invalid argument for an address that is no socket path; nothing is left behind then.
 */
export async function startSupervisor(options: SupervisorOptions): Promise<EmbeddedSupervisor> {
  const config = await configOf(options);
  const daemon = await startDaemon(config, openLog(config.logLevel));
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= daemon.close());
  return { address: daemon.address, reconciled: daemon.reconciled, close, [Symbol.asyncDispose]: close };
}

async function configOf(options: SupervisorOptions): Promise<Config> {
  const base = options.configFile === undefined ? defaultConfig : (await loadConfig(options.configFile)).config;
  const state = path.resolve(options.state);
  const address = path.resolve(options.address ?? path.join(state, 'gantry.sock'));
  if (Buffer.byteLength(address) > longestAddress)
    throw invalidArgument(`address ${address}: a socket path has at most ${longestAddress} bytes`);
  return {
    ...base,
    root: path.resolve(options.root),
    state,
    address,
    logLevel: parseLogLevel(
      options.logLevel ?? (options.configFile === undefined ? 'warn' : base.logLevel),
      'logLevel',
    ),
    spareShims: options.spareShims ?? base.spareShims,
  };
}
