// The descriptors as server reflection hands them out: each file encoded, with the names that it declares.
import { createRequire } from 'node:module';
import protobuf from 'protobufjs';

const require = createRequire(import.meta.url);
const descriptorProto = protobuf.Root.fromJSON(require('protobufjs/google/protobuf/descriptor.json'));
const FileDescriptorProto = descriptorProto.lookupType('google.protobuf.FileDescriptorProto');

function* messageSymbols(scope, message) {
  const name = `${scope}${message.name}`;
  yield name;
  for (const nested of message.nestedType ?? []) yield* messageSymbols(`${name}.`, nested);
  for (const type of message.enumType ?? []) yield `${name}.${type.name}`;
}

function* symbolsOf(file) {
  const scope = file.package === undefined ? '' : `${file.package}.`;
  for (const message of file.messageType ?? []) yield* messageSymbols(scope, message);
  for (const type of file.enumType ?? []) yield `${scope}${type.name}`;
  for (const service of file.service ?? []) {
    yield `${scope}${service.name}`;
    for (const method of service.method) yield `${scope}${service.name}.${method.name}`;
  }
}

/** `{ files: [{ name, dependency, symbols, bytes }] }` with the bytes in base64, out of the descriptor set's JSON form. */
export function reflectionJson(descriptors) {
  const files = JSON.parse(descriptors).file.map((file) => ({
    name: file.name,
    dependency: file.dependency ?? [],
    symbols: [...symbolsOf(file)],
    bytes: Buffer.from(FileDescriptorProto.encode(FileDescriptorProto.fromObject(file)).finish()).toString('base64'),
  }));
  return `${JSON.stringify({ files })}\n`;
}
