/**
 * Launchers bring shims into the world. A shim, once launched, owes its launcher nothing: it lives on when the
 * supervisor dies, and is found again by its bundle and its socket.
 */
import type { ShimConnection } from './connection.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** Where a shim and its container are. */
export interface ShimRequest {
  readonly namespace: string;
  readonly id: string;
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** Where the shim shall listen; at most 107 bytes. */
  readonly socketPath: string;
}

/** What the shim writes into the bundle. */
export interface BundleContents {
  /** config.json as the client wrote it. */
  readonly config: Uint8Array;
  /** options.json. */
  readonly optionsJson: string;
}

/** A shim that was told which container it is for. One that is not ours need not say which process it is. */
export interface LaunchedShim<Process extends ProcessIdentity | undefined = ProcessIdentity> {
  readonly process: Process;
  /** Connected; the caller's. What is called goes out behind the shim's instructions, so nothing need be awaited. */
  readonly connection: ShimConnection;
  /** Settles when the shim has taken the bundle over; a rejection says why it could not. */
  readonly adopted: Promise<void>;
}

/** How a container ended whose shim is not there to tell. */
export interface Remains {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

export interface ShimLauncher {
  /**
   * Gets a shim for a container. `makeBundle` is called with the shim's process before that is told anything: when the
   * supervisor dies in between, the bundle says who must be looked after. Throws resource exhausted or unavailable when no
   * process can be had, and what `makeBundle` throws; no process is left then.
   */
  launch(
    request: ShimRequest,
    contents: BundleContents,
    makeBundle: (shim: ProcessIdentity) => Promise<void>,
  ): Promise<LaunchedShim>;
  /**
   * Cleans up after a shim that is dead: kills what is left of the container, removes its cgroup, and says how it
   * ended (exit.json, else 137). Can be repeated.
   */
  cleanUp(request: ShimRequest): Promise<Remains>;
  /** Ends what the launcher itself keeps running; shims live on. */
  close(): Promise<void>;
}
