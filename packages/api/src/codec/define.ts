/** Makes the message and service types that the generated modules export. */
import type { FieldInfo, MessageType, PartialMessage } from '../message-type.ts';
import type { MethodTypes, ServiceType } from '../service-type.ts';
import { createMessage } from './create.ts';
import { decodeMessage } from './decode.ts';
import { encodeMessage } from './encode.ts';
import type { Fields } from './fields.ts';

/** The one implementation of MessageType. The table is built when the type is first used, which saves memory in shims. */
class TableMessageType<T> implements MessageType<T> {
  readonly typeName: string;
  private readonly table: () => readonly FieldInfo[];
  private known: readonly FieldInfo[] | undefined;
  private byNumber: ReadonlyMap<number, FieldInfo> | undefined;

  constructor(typeName: string, table: () => readonly FieldInfo[]) {
    this.typeName = typeName;
    this.table = table;
  }

  get fields(): readonly FieldInfo[] {
    this.known ??= this.table().toSorted((a, b) => a.number - b.number);
    return this.known;
  }

  fieldByNumber(number: number): FieldInfo | undefined {
    this.byNumber ??= new Map(this.fields.map((field) => [field.number, field]));
    return this.byNumber.get(number);
  }

  create(init?: PartialMessage<T>): T {
    return createMessage(this.fields, init as Fields | undefined) as T;
  }

  encode(message: T): Uint8Array {
    return encodeMessage(this.typeName, this.fields, message as Fields);
  }

  decode(bytes: Uint8Array): T {
    return decodeMessage(this, bytes) as T;
  }
}

/** `table` is called once, after all modules have loaded, so that types may name each other freely. */
export function defineMessage<T>(typeName: string, table: () => readonly FieldInfo[]): MessageType<T> {
  return new TableMessageType<T>(typeName, table);
}

/** Keeps the exact type of `methods`. */
export function defineService<Methods extends MethodTypes>(typeName: string, methods: Methods): ServiceType<Methods> {
  return { typeName, methods };
}
