/** Names from a tar as lists of components: no `.`, no `..`, no empty ones. Bytes throughout: names need not be UTF-8. */

/** Components below the root; empty for the root itself. */
export type EntryPath = readonly Buffer[];

const slash = 0x2f;

/**
 * Cleans a name as path.Clean of Go (and realpath -m of "/name") does: `..` takes the component before it away and
 * cannot climb above the root; an absolute name starts at the root.
 */
export function cleanPath(unsafeName: Buffer): EntryPath {
  const path: Buffer[] = [];
  for (const component of splitPath(unsafeName)) {
    if (component.equals(dotdot)) path.pop();
    else path.push(component);
  }
  return path;
}

/** The components as they stand, without `.` and empty ones; `..` stays. */
export function splitPath(unsafeName: Buffer): Buffer[] {
  const components: Buffer[] = [];
  for (let start = 0; start <= unsafeName.length;) {
    const next = unsafeName.indexOf(slash, start);
    const end = next === -1 ? unsafeName.length : next;
    const component = unsafeName.subarray(start, end);
    if (component.length > 0 && !component.equals(dot)) components.push(component);
    start = end + 1;
  }
  return components;
}

/** The relative path for openat2; `.` for the root. */
export function joinPath(path: EntryPath): Buffer {
  if (path.length === 0) return dot;
  return Buffer.concat(path.flatMap((component, index) => (index === 0 ? [component] : [Buffer.of(slash), component])));
}

/** A key for maps and sets: one character a byte. */
export function pathKey(path: EntryPath): string {
  return joinPath(path).toString('latin1');
}

/** For error texts. */
export function showPath(path: EntryPath | Buffer): string {
  return JSON.stringify((Buffer.isBuffer(path) ? path : joinPath(path)).toString('utf8').slice(0, 256));
}

export const dot: Buffer = Buffer.from('.');
export const dotdot: Buffer = Buffer.from('..');
