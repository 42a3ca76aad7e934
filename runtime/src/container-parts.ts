/** What a container's verbs work on. */
import type { Cgroup } from '@gantry/cgroups';
import type { Spec } from '@gantry/oci';
import type { Child } from './child.ts';
import type { ParentChannel } from './handshake.ts';

export interface ContainerParts {
  readonly id: string;
  readonly bundle: string;
  /** Where state.json is. */
  readonly stateDir: string;
  readonly spec: Spec;
  readonly child: Child;
  /** To init, until it is started. */
  readonly channel: ParentChannel;
  readonly cgroup: Cgroup;
  readonly console: number | undefined;
  readonly hasPrivatePidNamespace: boolean;
  /** CLONE_NEW* of the namespaces that an exec'd process joins. */
  readonly namespaceFlags: number;
  readonly noNewKeyring: boolean;
  /** Where the root is mounted for everybody to see, when it is. */
  readonly hostRoot: string | undefined;
  /** Directories of resctrl that were made for it. */
  readonly resctrl: readonly string[];
  readonly createTimeoutMs: number;
}
