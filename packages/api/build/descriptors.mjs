// The protos as one google.protobuf.FileDescriptorSet in protobuf's JSON form (numbers for types and labels), for server
// reflection and tools: https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
import protobuf from 'protobufjs';
import { allObjects, camelCase, fullName, labelOf } from './protos.mjs';

const types = {
  double: 1,
  float: 2,
  int64: 3,
  uint64: 4,
  int32: 5,
  fixed64: 6,
  fixed32: 7,
  bool: 8,
  string: 9,
  message: 11,
  bytes: 12,
  uint32: 13,
  enum: 14,
  sfixed32: 15,
  sfixed64: 16,
  sint32: 17,
  sint64: 18,
};
const labels = { optional: 1, repeated: 3 };

function typeOf(field) {
  if (!field.resolvedType) return { type: types[field.type] };
  const type = field.resolvedType instanceof protobuf.Enum ? types.enum : types.message;
  return { type, typeName: `.${fullName(field.resolvedType)}` };
}

function entryName(field) {
  const camel = camelCase(field.name);
  return `${camel[0].toUpperCase()}${camel.slice(1)}Entry`;
}

function fieldDescriptor(message, field, oneofs) {
  const label = labelOf(field);
  const base = { name: field.name, number: field.id, jsonName: camelCase(field.name) };
  if (label === 'map') {
    const typeName = `.${fullName(message)}.${entryName(field)}`;
    return { ...base, label: labels.repeated, type: types.message, typeName };
  }
  const descriptor = { ...base, label: label === 'repeated' ? labels.repeated : labels.optional, ...typeOf(field) };
  if (field.partOf) descriptor.oneofIndex = oneofs.indexOf(field.partOf);
  if (field.partOf?.isProto3Optional) descriptor.proto3Optional = true;
  if (field.options?.deprecated) descriptor.options = { deprecated: true };
  return descriptor;
}

function mapEntry(field) {
  const label = labels.optional;
  return {
    name: entryName(field),
    field: [
      { name: 'key', number: 1, jsonName: 'key', label, type: types[field.keyType] },
      { name: 'value', number: 2, jsonName: 'value', label, ...typeOf(field) },
    ],
    options: { mapEntry: true },
  };
}

function messageDescriptor(type) {
  // Real oneofs come before the ones that stand for `optional`.
  const oneofs = type.oneofsArray.toSorted((a, b) => Number(a.isProto3Optional) - Number(b.isProto3Optional));
  const nested = type.nestedArray;
  return withoutEmpty({
    name: type.name,
    field: type.fieldsArray.map((field) => fieldDescriptor(type, field, oneofs)),
    nestedType: [
      ...nested.filter((object) => object instanceof protobuf.Type).map(messageDescriptor),
      ...type.fieldsArray.filter((field) => field.map).map(mapEntry),
    ],
    enumType: nested.filter((object) => object instanceof protobuf.Enum).map(enumDescriptor),
    oneofDecl: oneofs.map((oneof) => ({ name: oneof.name })),
    reservedRange: (type.reserved ?? [])
      .filter((range) => Array.isArray(range))
      .map(([start, last]) => ({ start, end: last + 1 })),
  });
}

function enumDescriptor(type) {
  return { name: type.name, value: Object.entries(type.values).map(([name, number]) => ({ name, number })) };
}

function serviceDescriptor(service) {
  return {
    name: service.name,
    method: service.methodsArray.map((method) =>
      withoutEmpty({
        name: method.name,
        inputType: `.${fullName(method.resolvedRequestType)}`,
        outputType: `.${fullName(method.resolvedResponseType)}`,
        clientStreaming: method.requestStream || undefined,
        serverStreaming: method.responseStream || undefined,
      }),
    ),
  };
}

function withoutEmpty(object) {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0)),
  );
}

/** Files in an order in which every file comes after its imports. */
function importOrder(files) {
  const ordered = [];
  const seen = new Set();
  const visit = (file) => {
    if (seen.has(file.name)) return;
    seen.add(file.name);
    for (const name of file.imports) visit(files.get(name));
    ordered.push(file);
  };
  for (const name of [...files.keys()].toSorted()) visit(files.get(name));
  return ordered;
}

/** The descriptor set as compact JSON. */
export function descriptorJson(root, files) {
  const objects = allObjects(root).filter((object) => !(object.parent instanceof protobuf.Type));
  const file = importOrder(files).map(({ name, package: packageName, imports }) => {
    const own = objects.filter((object) => object.filename === name);
    return withoutEmpty({
      name,
      package: packageName,
      dependency: imports,
      messageType: own.filter((object) => object instanceof protobuf.Type).map(messageDescriptor),
      enumType: own.filter((object) => object instanceof protobuf.Enum).map(enumDescriptor),
      service: own.filter((object) => object instanceof protobuf.Service).map(serviceDescriptor),
      syntax: 'proto3',
    });
  });
  return `${JSON.stringify({ file })}\n`;
}
