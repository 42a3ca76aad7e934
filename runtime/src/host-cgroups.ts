/** The control group hierarchies of this host. */
import { detectCgroups } from '@gantry/cgroups';
import type { CgroupHierarchy } from '@gantry/cgroups';

let hierarchy: CgroupHierarchy | undefined;

/** Where this host's control groups are; looked up once. */
export function hostCgroups(): CgroupHierarchy {
  hierarchy ??= detectCgroups();
  return hierarchy;
}
