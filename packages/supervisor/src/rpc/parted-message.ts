/**
 * Messages with one large field of bytes, handed on while they arrive: the bytes go to the disk in the pieces in which they
 * came, nobody waits for the last one, and no message of megabytes is put together.
 */

/** What belongs to a message whose bytes are still arriving. */
export interface Parts<T> {
  /** The bytes, once. What is not read of them is dropped when the next message is asked for. */
  readonly pieces: AsyncIterable<readonly Uint8Array[]>;
  /** All fields but the bytes. To be asked for after the last piece. */
  whole(): T;
}

/** The calls whose requests come like that where the transport can do it, and the field of bytes of each. */
export const partedFields: ReadonlyMap<string, number> = new Map([
  ['/containerd.services.content.v1.Content/Write', 6],
]);

const arriving = new WeakMap<object, Parts<unknown>>();

/** Ties the parts to the message as far as it has arrived: the fields before the bytes; all others have their defaults. */
export function setParts<T extends object>(message: T, parts: Parts<T>): void {
  arriving.set(message, parts);
}

/** The parts of a message that arrives; undefined for one that is whole. */
export function partsOf<T extends object>(message: T): Parts<T> | undefined {
  return arriving.get(message) as Parts<T> | undefined;
}
