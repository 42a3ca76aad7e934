/** Control group paths as components: nothing that a client writes can lead out of the hierarchy. */
import { invalidArgument } from '@gantry/errors';

/** NAME_MAX; kernfs refuses longer names. */
const maximumNameBytes = 255;

/**
 * The components of a path. Empty ones and `.` fall away; `..`, control characters and over-long names are refused, as
 * is a path without any component: the root group is never a container's. Throws invalid argument.
 */
export function pathComponents(unsafePath: string): string[] {
  const components = unsafePath.split('/').filter((name) => name !== '' && name !== '.');
  if (components.length === 0) throw invalidArgument(`cgroups path ${JSON.stringify(unsafePath)}: names no group`);
  for (const name of components) {
    // eslint-disable-next-line no-control-regex -- control characters would break the line formats of /proc.
    const unfit = name === '..' || /[\u0000-\u001f\u007f]/.test(name) || Buffer.byteLength(name) > maximumNameBytes;
    if (unfit)
      throw invalidArgument(`cgroups path ${JSON.stringify(unsafePath)}: bad component ${JSON.stringify(name)}`);
  }
  return components;
}
