/** What the differ is asked and answers. Shared by the supervisor's side (differ.ts) and the worker. */
import type { IdMaps } from '@gantry/oci';

/** The detail of an error: apply the layer again when the ones below it are there. */
export const needsLowerLayers = 'needsLowerLayers';

/** One step of making a snapshot's tree appear; the same shape as a snapshotter's mounts. */
export interface DiffMount {
  readonly type: string;
  readonly source: string;
  readonly target?: string;
  readonly options: readonly string[];
}

export interface ApplyRequest {
  /** The blob's file; read by the worker. */
  readonly blobPath: string;
  readonly mediaType: string;
  /** The blob's digest; what is read must have it. */
  readonly digest: string;
  /** The blob's size in bytes; checked when given. */
  readonly size?: bigint;
  /**
   * Where to apply: one writable tree. An overlay without lower directories is the upper layer of one whose other layers are not
   * there yet; a layer that depends on them then fails with failed precondition and the detail `needsLowerLayers`.
   */
  readonly mounts: readonly DiffMount[];
  /** syncfs(2) afterwards. */
  readonly syncFs?: boolean;
  /** For stream processors, by their names: encoded google.protobuf.Any messages. */
  readonly payloads?: Readonly<Record<string, Uint8Array>>;
}

/** A program that makes layers of other media types readable (stream-processors.ts). */
export interface StreamProcessor {
  readonly name: string;
  readonly accepts: readonly string[];
  readonly returns: string;
  /** Looked for in the PATH of `env` when it is a name. */
  readonly path: string;
  readonly args: readonly string[];
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

export interface CompareRequest {
  readonly left: readonly DiffMount[];
  readonly right: readonly DiffMount[];
  /** '' is gzip'ed tar. */
  readonly mediaType: string;
  /** Seconds since the epoch; later modification times are set to it. */
  readonly sourceDateEpoch?: bigint;
}

export interface CopyRequest {
  /** An upper directory, stored with the host's ids. */
  readonly from: string;
  /** The layer to be made. */
  readonly to: string;
  readonly maps: IdMaps;
}

/** A blob: for `apply` the uncompressed layer (its digest is the diff ID), for `compare` the one written. */
export interface DiffResult {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: bigint;
}

export interface CompareResult extends DiffResult {
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
}
