// Writes one TypeScript module for a proto package: an interface and a table for each message, an object for each enum and
// service. Nested names are joined by `_`. Comments of the .proto files come along.
import path from 'node:path';
import protobuf from 'protobufjs';
import { allObjects, camelCase, fullName, labelOf, packageOf } from './protos.mjs';

const bigints = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64']);

/** `containerd.services.tasks.v1` → `containerd/services/tasks/v1.ts` */
export function modulePath(packageName) {
  return `${packageName.replaceAll('.', '/')}.ts`;
}

function importName(packageName) {
  return packageName.replaceAll('.', '_');
}

/** The identifier of a message or enum inside its own module. */
function localName(object) {
  return fullName(object)
    .slice(packageOf(object).length + 1)
    .replaceAll('.', '_');
}

function docs(comment, indent) {
  if (!comment) return '';
  const lines = comment.replaceAll('*/', '* /').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

/** One module; remembers which other packages it needs. */
class Module {
  constructor(packageName) {
    this.packageName = packageName;
    this.needed = new Set();
    this.helpers = new Set();
  }

  /** An expression for a message or enum, from any package. */
  reference(object) {
    const from = packageOf(object);
    if (from === this.packageName) return localName(object);
    this.needed.add(from);
    return `${importName(from)}.${localName(object)}`;
  }

  valueType(field) {
    if (field.resolvedType instanceof protobuf.Type) return this.reference(field.resolvedType);
    if (field.resolvedType instanceof protobuf.Enum || !field.type) return 'number';
    if (field.type === 'string') return 'string';
    if (field.type === 'bool') return 'boolean';
    if (field.type === 'bytes') return 'Uint8Array';
    return bigints.has(field.type) ? 'bigint' : 'number';
  }

  fieldType(field) {
    const value = this.valueType(field);
    const label = labelOf(field);
    if (label === 'repeated') return `${value}[]`;
    if (label === 'map') return `Record<string, ${value}>`;
    const absent = label === 'optional' || field.resolvedType instanceof protobuf.Type;
    return absent ? `${value} | undefined` : value;
  }

  fieldRow(field) {
    const name = camelCase(field.name);
    const kind = field.resolvedType ? (field.resolvedType instanceof protobuf.Enum ? 'enum' : 'message') : field.type;
    const parts = [
      `number: ${field.id}`,
      `protoName: '${field.name}'`,
      `name: '${name}'`,
      `kind: '${kind}'`,
      `label: '${labelOf(field)}'`,
    ];
    if (field.map) parts.push(`keyKind: '${field.keyType}'`);
    if (kind === 'message') parts.push(`message: ${this.reference(field.resolvedType)}`);
    if (field.partOf && !field.partOf.isProto3Optional) parts.push(`oneof: '${field.partOf.name}'`);
    return `  { ${parts.join(', ')} },\n`;
  }

  messageText(type) {
    const name = localName(type);
    const members = type.fieldsArray
      .map((field) => `${docs(field.comment, '  ')}  ${camelCase(field.name)}: ${this.fieldType(field)};\n`)
      .join('');
    const rows = type.fieldsArray.map((field) => this.fieldRow(field)).join('');
    this.helpers.add('defineMessage');
    const shape = members === '' ? `export type ${name} = Record<string, never>;\n` : '';
    return (
      docs(type.comment, '') +
      (shape || `export interface ${name} {\n${members}}\n`) +
      `export const ${name}: MessageType<${name}> = defineMessage<${name}>('${fullName(type)}', () => [\n${rows}]);\n`
    );
  }

  enumText(type) {
    const name = localName(type);
    const members = Object.entries(type.values)
      .map(([key, value]) => `${docs(type.comments?.[key], '  ')}  ${key}: ${value},\n`)
      .join('');
    return (
      `${docs(type.comment, '')}export const ${name} = {\n${members}} as const;\n` +
      `export type ${name} = (typeof ${name})[keyof typeof ${name}];\n`
    );
  }

  serviceText(service) {
    const typed = [];
    const values = [];
    for (const method of service.methodsArray) {
      const request = this.reference(method.resolvedRequestType);
      const response = this.reference(method.resolvedResponseType);
      const key = method.name[0].toLowerCase() + method.name.slice(1);
      const streams = `${Boolean(method.requestStream)}, ${Boolean(method.responseStream)}`;
      typed.push(`${docs(method.comment, '  ')}  readonly ${key}: MethodType<${request}, ${response}, ${streams}>;\n`);
      values.push(
        `  ${key}: { name: '${method.name}', requestType: ${request}, responseType: ${response}, ` +
          `requestStream: ${Boolean(method.requestStream)}, responseStream: ${Boolean(method.responseStream)} },\n`,
      );
    }
    this.helpers.add('defineService');
    const name = `${service.name}Service`;
    return (
      `${docs(service.comment, '')}export const ${name}: ServiceType<{\n${typed.join('')}}> = ` +
      `defineService('${fullName(service)}', {\n${values.join('')}});\n`
    );
  }

  text(objects) {
    const body = [];
    const kinds = [protobuf.Enum, protobuf.Type, protobuf.Service];
    for (const kind of kinds) {
      for (const object of objects.filter((candidate) => candidate instanceof kind)) {
        if (kind === protobuf.Enum) body.push(this.enumText(object));
        else body.push(kind === protobuf.Type ? this.messageText(object) : this.serviceText(object));
      }
    }
    const messages = objects.filter((object) => object instanceof protobuf.Type).map(localName);
    body.push(
      `/** Every message of the package. */\n` +
        `export const messageTypes: readonly MessageType<unknown>[] = [${messages.join(', ')}];\n`,
    );
    return `${this.head()}\n${body.join('\n')}`;
  }

  head() {
    const own = path.posix.dirname(modulePath(this.packageName));
    const relative = (target) => {
      const found = path.posix.relative(own, target);
      return found.startsWith('.') ? found : `./${found}`;
    };
    const lines = ['// Generated from proto/ by build/generate.mjs; not edited by hand.\n'];
    if (this.helpers.size > 0) {
      lines.push(`import { ${[...this.helpers].toSorted().join(', ')} } from '${relative('../codec/define.ts')}';\n`);
    }
    lines.push(`import type { MessageType } from '${relative('../message-type.ts')}';\n`);
    if (this.helpers.has('defineService')) {
      lines.push(`import type { MethodType, ServiceType } from '${relative('../service-type.ts')}';\n`);
    }
    for (const needed of [...this.needed].toSorted()) {
      lines.push(`import * as ${importName(needed)} from '${relative(modulePath(needed))}';\n`);
    }
    return lines.join('');
  }
}

/**
 * The module of every package.
 * @returns {Map<string, string>} path below src/gen → text
 */
export function typescriptModules(root) {
  const byPackage = groupByPackage(root);
  const modules = new Map();
  const packages = [...byPackage.keys()].toSorted();
  for (const packageName of packages) {
    modules.set(modulePath(packageName), new Module(packageName).text(byPackage.get(packageName)));
  }
  modules.set('all-messages.ts', allMessagesText(packages));
  return modules;
}

function groupByPackage(root) {
  const groups = new Map();
  for (const object of allObjects(root)) {
    const key = packageOf(object);
    groups.set(key, [...(groups.get(key) ?? []), object]);
  }
  return groups;
}

function allMessagesText(packages) {
  const imports = packages.map(
    (name) => `import { messageTypes as ${importName(name)} } from './${modulePath(name)}';\n`,
  );
  return (
    `// Generated from proto/ by build/generate.mjs; not edited by hand.\n` +
    `import type { MessageType } from '../message-type.ts';\n${imports.join('')}\n` +
    `/** Every message of every package. */\n` +
    `export const allMessageTypes: readonly MessageType<unknown>[] = [\n` +
    `${packages.map((name) => `  ...${importName(name)},\n`).join('')}];\n`
  );
}
