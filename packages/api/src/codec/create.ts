/** Fills a partial message up: every field set, nothing shared with what was given but byte arrays. */
import type { FieldInfo } from '../message-type.ts';
import { defaultOf, newMap } from './fields.ts';
import type { Fields } from './fields.ts';

/** A message with every field of `fields`; what `init` has beyond them is left out. */
export function createMessage(fields: readonly FieldInfo[], init: Fields | undefined): Fields {
  const message: Fields = {};
  for (const field of fields) {
    const given = init?.[field.name];
    message[field.name] = given === undefined || given === null ? defaultOf(field) : copyField(field, given);
  }
  return message;
}

function copyField(field: FieldInfo, given: unknown): unknown {
  if (field.label === 'repeated') return Array.from(given as Iterable<unknown>, (item) => copyValue(field, item));
  if (field.label !== 'map') return copyValue(field, given);
  const map = newMap();
  for (const [key, value] of Object.entries(given as Fields)) {
    if (value !== undefined) map[key] = copyValue(field, value);
  }
  return map;
}

function copyValue(field: FieldInfo, given: unknown): unknown {
  return field.message === undefined ? given : createMessage(field.message.fields, given as Fields);
}
