/** What the rest of the house knows about a protobuf message: its name, its fields, and how to make, write and read it. */

/** The scalar types of proto3; 64-bit ones are bigint here, `bytes` is Uint8Array. */
export type ScalarKind =
  | 'bool'
  | 'bytes'
  | 'double'
  | 'fixed32'
  | 'fixed64'
  | 'float'
  | 'int32'
  | 'int64'
  | 'sfixed32'
  | 'sfixed64'
  | 'sint32'
  | 'sint64'
  | 'string'
  | 'uint32'
  | 'uint64';

/**
 * How a field occurs. `singular` is proto3's implicit presence (a scalar equal to its default is not sent; a message may
 * be undefined), `optional` has explicit presence (undefined when it was not sent), members of a oneof included.
 */
export type FieldLabel = 'singular' | 'optional' | 'repeated' | 'map';

/** One field of a message. */
export interface FieldInfo {
  readonly number: number;
  /** The spelling of the .proto file, which filters and field masks use: `container_id`. */
  readonly protoName: string;
  /** The property of the TypeScript interface: `containerId`. */
  readonly name: string;
  /** The type of the value; of the map's values for a map. */
  readonly kind: ScalarKind | 'enum' | 'message';
  readonly label: FieldLabel;
  /** The type of the keys of a map. */
  readonly keyKind?: ScalarKind;
  /** Set when `kind` is `message`. */
  readonly message?: MessageType<unknown>;
  /** The oneof this field is a member of. */
  readonly oneof?: string;
}

type PartialField<V> = V extends string | number | bigint | boolean | Uint8Array | undefined
  ? V
  : V extends readonly (infer U)[]
    ? readonly PartialField<U>[]
    : { readonly [K in keyof V]?: PartialField<V[K]> | undefined };

/** A message of which only some fields are given; the others get their defaults. */
export type PartialMessage<T> = { readonly [K in keyof T]?: PartialField<T[K]> | undefined };

/**
 * A message type: the value that stands beside each generated interface under the same name.
 *
 * The methods are declared so that `MessageType<TaskExit>` may stand where `MessageType<unknown>` is expected.
 */
export interface MessageType<T> {
  /** The full name, `containerd.events.TaskExit`; also its type URL. */
  readonly typeName: string;
  /** In the order of their numbers. */
  readonly fields: readonly FieldInfo[];
  fieldByNumber(number: number): FieldInfo | undefined;
  /** A new message with every field set; shares only byte arrays with `init`. */
  create(init?: PartialMessage<T>): T;
  /** The wire form. Throws invalid argument when a value does not fit its field's type. */
  encode(message: T): Uint8Array;
  /**
   * Reads the wire form. Unknown fields are skipped, absent ones get their defaults. Byte fields of the result are views
   * of `bytes`: whoever keeps one for long copies it. Throws invalid argument when `bytes` are malformed.
   */
  decode(bytes: Uint8Array): T;
}
