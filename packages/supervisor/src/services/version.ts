/** containerd.services.version.v1.Version: what this is, in the numbers of the API it answers. */
import { version } from '@gantry/api';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

export interface VersionServiceComponents {
  /** Clients parse it as a semantic version and switch features by it. */
  readonly version: string;
  /** The commit it was built from; '' when unknown. */
  readonly revision: string;
}

export function versionService({ version: number, revision }: VersionServiceComponents): Binding {
  return bind(version.VersionService, { version: () => ({ version: number, revision }) });
}
