/**
 * Field masks of the Update calls: which members of a record a request replaces. A path names a member (`labels`) or one
 * entry of a map (`labels.<key>`, where everything behind the first dot is the key).
 */
import { invalidArgument } from '@gantry/errors';

/** One path of a mask. */
export interface MaskPath<Field extends string> {
  readonly field: Field;
  /** The entry; undefined for the whole member. */
  readonly key: string | undefined;
}

export interface MaskRules<Field extends string> {
  /** Members that can be replaced as a whole. */
  readonly fields: readonly Field[];
  /** Members of which single entries can be. */
  readonly maps: readonly Field[];
  /** What is updated, for errors: `cannot update "x" field <subject>`; '' when there is nothing to say. */
  readonly subject: string;
}

/** Splits and checks the paths of a mask. Throws invalid argument for a path that nothing answers to. */
export function parseMask<Field extends string>(
  paths: readonly string[],
  { fields, maps, subject }: MaskRules<Field>,
): MaskPath<Field>[] {
  return paths.map((path) => {
    const dot = path.indexOf('.');
    const name = dot === -1 ? path : path.slice(0, dot);
    const key = dot === -1 ? undefined : path.slice(dot + 1);
    const field = (key === undefined ? fields : maps).find((known) => known === name);
    if (field === undefined || key === '') {
      const end = subject === '' ? '' : ` ${subject}`;
      throw invalidArgument(`cannot update ${JSON.stringify(path)} field${end}`, { path });
    }
    return { field, key };
  });
}

/**
 * A map after one step of an update: all of `change` for the whole member, else the entry `key`, which goes when
 * `change` does not have it.
 */
export function maskedEntries<V>(
  old: Readonly<Record<string, V>>,
  change: Readonly<Record<string, V>>,
  key: string | undefined,
): Record<string, V> {
  if (key === undefined) return Object.fromEntries(Object.entries(change));
  const kept = Object.entries(old).filter(([name]) => name !== key);
  return Object.fromEntries([...kept, ...Object.entries(change).filter(([name]) => name === key)]);
}

/** A record with the members replaced that a mask names; `members` says what a field of masks is called in the record. */
export function maskedRecord<T extends object, Field extends string>(
  old: T,
  change: T,
  mask: readonly MaskPath<Field>[],
  members: Readonly<Record<Field, keyof T>>,
): T {
  const updated: T = { ...old };
  for (const { field, key } of mask) {
    const member = members[field];
    const whole = change[member];
    updated[member] =
      key === undefined ? whole : (maskedEntries(mapOf(updated[member]), mapOf(whole), key) as T[keyof T]);
  }
  return updated;
}

/** Single entries are named of maps only. */
function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
