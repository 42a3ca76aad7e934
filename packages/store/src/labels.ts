/** Labels as records carry them, and changing them by the field paths of the Update calls. */
import { invalidArgument } from '@gantry/errors';

/** Text to text; a value is never empty in a stored object. */
export type Labels = Readonly<Record<string, string>>;

const prefix = 'labels.';

/** The labels that stay: an empty value means that there is none. */
export function presentLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''));
}

/**
 * The labels after an update: without `paths` those of the change; else `labels` stands for all and `labels.<key>` for
 * one (everything behind the first dot is the key). An empty value removes. Throws invalid argument for another path.
 */
export function updatedLabels(old: Labels, change: Labels, paths: readonly string[]): Labels {
  for (const path of paths) checkPath(path);
  if (paths.length === 0 || paths.includes('labels')) return presentLabels(change);
  const keys = paths.map((path) => path.slice(prefix.length));
  const named = keys.map((key): [string, string] => [key, change[key] ?? '']);
  return presentLabels(Object.fromEntries([...Object.entries(old), ...named]));
}

function checkPath(path: string): void {
  if (path === 'labels' || (path.startsWith(prefix) && path.length > prefix.length)) return;
  throw invalidArgument(`cannot update ${JSON.stringify(path)} field`, { path });
}
