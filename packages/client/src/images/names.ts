/** What images found in an archive are called. */
import { annotations, normalizeReference } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';

/**
 * The name of an index entry: the full name it carries; else its `ref.name`, made a full name when it looks like one
 * and a tag of `prefix` otherwise; else `prefix@digest`.
 */
export function nameOfEntry(entry: Descriptor, prefix: string): string {
  const full = entry.annotations?.[annotations.imageName];
  if (full !== undefined && full !== '') return full;
  const ref = entry.annotations?.[annotations.refName] ?? '';
  if (ref === '') return `${prefix}@${entry.digest}`;
  return /[/:@]/.test(ref) ? normalizeReference(ref) : `${prefix}:${ref}`;
}

/** The prefix for archives that name nothing, by the day they were imported on. */
export function importPrefix(now = new Date()): string {
  return `import-${now.toISOString().slice(0, 10)}`;
}
