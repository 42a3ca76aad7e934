/** What a `cgroupsPath` means to systemd: `slice:prefix:name`, a unit below a slice. */
import { invalidArgument } from '@gantry/errors';

export interface UnitPlace {
  /** `gantry-c1.scope`; a slice when the name is one. */
  readonly unit: string;
  readonly slice: string;
}

/** The words are runc's, which callers look for. */
function notThree(text: string): Error {
  return invalidArgument(
    `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got ${JSON.stringify(text)} instead`,
  );
}

/** An empty path: a scope named after the container in the usual slice. Throws invalid argument. */
export function unitPlace(unsafePath: string, id: string, isUser: boolean): UnitPlace {
  const usual = isUser ? 'user.slice' : 'system.slice';
  if (unsafePath === '') return { slice: usual, unit: unitName('runc', id) };
  const parts = unsafePath.split(':');
  const [slice = '', prefix = '', name = ''] = parts;
  if (parts.length !== 3 || name === '') throw notThree(unsafePath);
  return { slice: slice === '' ? usual : slice, unit: unitName(prefix, name) };
}

function unitName(prefix: string, name: string): string {
  const unit = name.endsWith('.slice') ? name : `${prefix === '' ? '' : `${prefix}-`}${name}.scope`;
  // systemd.unit(5): at most 255 characters of these.
  if (unit.length > 255 || !/^[A-Za-z0-9:_.\\-]+$/.test(unit)) {
    throw invalidArgument(`invalid systemd unit name ${JSON.stringify(unit)}`);
  }
  return unit;
}

/** Where a slice's group is: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` the root (systemd.slice(5)). Throws invalid argument. */
export function slicePath(slice: string): string {
  const name = slice.endsWith('.slice') ? slice.slice(0, -'.slice'.length) : '';
  if (name === '-') return '';
  const parts = name.split('-');
  if (!/^[A-Za-z0-9:_.\\-]+$/.test(name) || parts.includes('')) {
    throw invalidArgument(`invalid slice name: ${slice}`);
  }
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}
