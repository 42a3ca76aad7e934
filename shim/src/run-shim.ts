/**
 * The two ways a shim begins, and its end. What it is in between is in shim-process.ts.
 *
 *   supervisor                                         shim, started for one container (`runShim`)
 *   spawns it detached, stdout is a pipe        ───►   becomes a subreaper, listens
 *   reads one line                              ◄───   {"version":3,"address":"unix:///…","protocol":"ttrpc","pid":N}
 *   calls Task over ttrpc                       ───►   …
 *   (dies, comes back, calls Connect)           ◄───   keeps events, offers them again
 *   Delete, Shutdown                            ───►   sends its last events, removes its socket, ends
 *
 *   gantryd                                            shim, made ahead of time (`runSpare`)
 *   has one forked or spawned                   ───►   becomes a subreaper, listens on a socket for spares
 *   connects                                    ◄───   says so
 *   Adopt, at once followed by Create           ───►   takes the bundle and the container's socket; from here as above
 *   (dies, closes the connection, never comes)         ends, unless it was adopted
 *
 * Nothing is made at import time and no timer or descriptor outlives the returned promise, so that a process forked
 * from a warm one can call either as its whole life.
 */
import { messageOf } from '@gantry/errors';
import { gantryShim } from '@gantry/api/shim';
import { PR_SET_PDEATHSIG, signals } from '@gantry/libc';
import { adopt } from './adopt.ts';
import { spareTimeoutMs } from './limits.ts';
import type { ShimLog } from './log.ts';
import { ShimProcess } from './shim-process.ts';
import type { ShimParts } from './shim-process.ts';

/** What the supervisor learns when the shim listens. */
export interface Bootstrap {
  readonly version: 3;
  readonly address: string;
  readonly protocol: 'ttrpc';
  readonly pid: number;
}

interface ListenOptions {
  /** Absolute path of the socket to make, at most 107 bytes. */
  readonly socketPath: string;
  /** Called once, when the socket takes calls. */
  readonly announce: (bootstrap: Bootstrap) => void;
}

export interface SpareOptions extends Omit<ShimParts, 'log' | 'onConnections'>, ListenOptions {
  /** The pid of the process that made this one, where it is known; a spare that has lost it ends. */
  readonly parent?: number;
  /** Makes the log on standard error; called again when it is known whether debug lines are wanted. */
  readonly makeLog: (options: { readonly debug: boolean }) => ShimLog;
}

export interface ShimOptions extends ShimParts, ListenOptions {
  readonly namespace: string;
  /** The container this shim is for. */
  readonly id: string;
  /** The supervisor's event socket; undefined: events go nowhere. */
  readonly eventsPath: string | undefined;
  /** Registers further services than the task API. */
  readonly serve?: (shim: ShimProcess) => void;
}

/** Resolves with the exit code when the shim has shut down. Rejects when it cannot start. */
export async function runShim(options: ShimOptions): Promise<number> {
  const shim = new ShimProcess(options);
  const { namespace, id, eventsPath, log } = options;
  try {
    shim.assign({ namespace, id, eventsPath, log, release: () => undefined });
    options.serve?.(shim);
    await shim.server.listen(options.socketPath, { mode: 0o600 });
    options.announce(bootstrap(options));
    return await shim.run();
  } finally {
    await shim.close();
  }
}

/**
 * The same for a shim that does not know its container yet. It ends with 0 when whoever was to adopt it goes away, or
 * does not come.
 */
export async function runSpare(options: SpareOptions): Promise<number> {
  const { parent, socketPath, sys, makeLog } = options;
  // Without a container it has nothing to live for when whoever made it is gone; adoption takes this back.
  sys.prctl(PR_SET_PDEATHSIG, BigInt(signals['SIGTERM'] ?? 15));
  if (parent !== undefined && process.ppid !== parent) return 0;
  const log = makeLog({ debug: false });
  const giveUp = (): void => {
    if (!shim.isAssigned) shim.shutDown();
  };
  const lonely = setTimeout(giveUp, spareTimeoutMs);
  const onConnections = (count: number): void => {
    clearTimeout(lonely);
    if (count === 0) giveUp();
  };
  const shim = new ShimProcess({ ...options, log, onConnections });
  try {
    shim.server.register(gantryShim.SpareService, {
      adopt: (request) => {
        adopt(shim, options, request);
        return {};
      },
    });
    await shim.server.listen(socketPath, { mode: 0o600 });
    options.announce(bootstrap(options));
    return await shim.run();
  } catch (err) {
    log.error('a spare shim failed', { error: messageOf(err) });
    throw err;
  } finally {
    clearTimeout(lonely);
    await shim.close();
  }
}

function bootstrap({ socketPath, sys }: Pick<SpareOptions, 'socketPath' | 'sys'>): Bootstrap {
  return { version: 3, address: `unix://${socketPath}`, protocol: 'ttrpc', pid: sys.getpid() };
}
