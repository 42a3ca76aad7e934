/** What filters see of an event: the envelope, and below `event` the payload by the field names of its .proto file. */
import { typeOfAny } from '@gantry/api';
import type { FieldInfo, MessageType, types, wellKnown } from '@gantry/api';
import type { Adaptor } from './compile.ts';
import { leaf } from './adaptors.ts';

/**
 * `namespace`, `topic`, `event.<field>…` such as `event.container_id` or `event.labels.<key>`. The payload is decoded at
 * the first question about it, once; one that is malformed or of a type that `proto/` does not have has no fields.
 */
export function eventAdaptor(envelope: types.Envelope): Adaptor {
  let payload: { readonly type: MessageType<unknown>; readonly message: unknown } | undefined;
  let decoded = false;
  return (path) => {
    if (path[0] === 'namespace') return leaf(path, envelope.namespace);
    if (path[0] === 'topic') return leaf(path, envelope.topic);
    if (path[0] !== 'event') return undefined;
    if (!decoded) {
      payload = envelope.event === undefined ? undefined : unpack(envelope.event);
      decoded = true;
    }
    return payload === undefined ? undefined : textAt(payload.type, payload.message, path.slice(1));
  };
}

function unpack(any: wellKnown.Any): { type: MessageType<unknown>; message: unknown } | undefined {
  const type = typeOfAny(any);
  if (type === undefined) return undefined;
  try {
    return { type, message: type.decode(any.value) };
  } catch {
    return undefined;
  }
}

function textAt(type: MessageType<unknown>, message: unknown, path: readonly string[]): string | undefined {
  const [name, ...rest] = path;
  const field = type.fields.find(({ protoName }) => protoName === name);
  if (field === undefined || !isRecord(message)) return undefined;
  const value = message[field.name];
  if (field.label === 'repeated') return undefined;
  if (field.label !== 'map') return fieldText(field, value, rest);
  if (rest.length === 0 || !isRecord(value)) return undefined;
  const key = rest.join('.');
  if (!Object.hasOwn(value, key)) return undefined;
  return field.kind === 'message' ? undefined : scalarText(value[key]);
}

function fieldText(field: FieldInfo, value: unknown, rest: readonly string[]): string | undefined {
  if (field.kind !== 'message') return rest.length === 0 ? scalarText(value) || undefined : undefined;
  return field.message === undefined ? undefined : textAt(field.message, value, rest);
}

/** Text, numbers and booleans as they are written; other values have no text. */
function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
