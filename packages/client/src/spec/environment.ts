/** Lists of `NAME=value`. */

/**
 * `base` with the entries of `overlay`: a name both have keeps its place and gets the overlay's value; an overlay
 * entry without `=` removes the name.
 */
export function mergeEnvironment(base: readonly string[], overlay: readonly string[]): string[] {
  const values = new Map<string, string>();
  for (const entry of base) values.set(nameOf(entry), entry);
  for (const entry of overlay) {
    if (entry.includes('=')) values.set(nameOf(entry), entry);
    else values.delete(entry);
  }
  return [...values.values()];
}

function nameOf(entry: string): string {
  const end = entry.indexOf('=');
  return end === -1 ? entry : entry.slice(0, end);
}
