/**
 * Launchers bring shims into the world. A shim, once launched, owes its launcher nothing: it lives on when the
 * supervisor dies, and is found again by its socket.
 */
import type { ProcessIdentity } from './process-identity.ts';

export interface ShimRequest {
  readonly namespace: string;
  readonly id: string;
  /** Absolute path of the bundle; config.json is there. */
  readonly bundle: string;
  /** Where the shim shall listen; at most 107 bytes. */
  readonly socketPath: string;
}

/** A shim that listens. */
export interface LaunchedShim {
  readonly process: ProcessIdentity;
  /** `unix:///path`. */
  readonly address: string;
}

/** How a container ended whose shim is not there to tell. */
export interface Remains {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

export interface ShimLauncher {
  /** Starts a shim, detached, and resolves when it listens. Whatever fails, no process is left. */
  launch(request: ShimRequest): Promise<LaunchedShim>;
  /**
   * Cleans up after a shim that is dead: kills what is left of the container, removes its cgroup, and says how it
   * ended (exit.json, else 137). Can be repeated.
   */
  cleanUp(request: ShimRequest): Promise<Remains>;
  /** Ends what the launcher itself keeps running; shims live on. */
  close(): Promise<void>;
}
