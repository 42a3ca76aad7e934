/**
 * The container's configuration (`config.json`) as the OCI runtime specification 1.3 defines it for Linux.
 *
 * Member names and optionality are the document's. A value of type `Spec` came out of `parseSpec` or was built by us;
 * a document of a client is `unknown` until then. The sections of other platforms (windows, vm, solaris, zos, freebsd)
 * have no meaning here and are not read; they stay in the bytes of the document.
 */
import type { IdMapping, Linux } from './linux.ts';
import type { Process } from './process.ts';

/** The whole document. */
export interface Spec {
  /** The specification's version the document was written for; its major number is 1. */
  readonly ociVersion: string;
  /** Absent: the container can be created, not started. */
  readonly process?: Process;
  readonly root?: Root;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly mounts?: readonly Mount[];
  readonly hooks?: Hooks;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: Linux;
}

/** The root file system. */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  readonly readonly?: boolean;
}

/** One entry of the mount list; entries are applied in the document's order. */
export interface Mount {
  /** Where in the container. Relative destinations are accepted by habit and mean below `/`. */
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
}

/** A program that the runtime calls at a point of the container's life. */
export interface Hook {
  /** Absolute. */
  readonly path: string;
  /** The argument vector, `argv[0]` included. */
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds, above 0. Absent: no limit. */
  readonly timeout?: number;
}

/** The hooks by kind, in the order in which the kinds run. */
export interface Hooks {
  /** Deprecated by the specification, still the one that most producers write. */
  readonly prestart?: readonly Hook[];
  readonly createRuntime?: readonly Hook[];
  readonly createContainer?: readonly Hook[];
  readonly startContainer?: readonly Hook[];
  readonly poststart?: readonly Hook[];
  readonly poststop?: readonly Hook[];
}

export const hookKinds = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const satisfies readonly (keyof Hooks)[];

export type HookKind = (typeof hookKinds)[number];
