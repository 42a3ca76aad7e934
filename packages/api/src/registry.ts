/** Every message type by its full name: for Anys whose type is known only at run time, such as events. */
import { allMessageTypes } from './gen/all-messages.ts';
import type { Any } from './gen/google/protobuf.ts';
import { anyTypeName } from './any.ts';
import type { MessageType } from './message-type.ts';

/** All message types of `proto/`, by full name. */
export const typeRegistry: ReadonlyMap<string, MessageType<unknown>> = new Map(
  allMessageTypes.map((type) => [type.typeName, type]),
);

/** The type of what `any` holds; undefined when `proto/` does not have it. */
export function typeOfAny(any: Pick<Any, 'typeUrl'>): MessageType<unknown> | undefined {
  return typeRegistry.get(anyTypeName(any));
}
