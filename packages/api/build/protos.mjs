// Parses every .proto file below a directory into one protobufjs Root, and remembers each file's imports.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import protobuf from 'protobufjs';

/** @typedef {{ name: string, package: string, imports: string[] }} ProtoFile */

function protoFilesBelow(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) return protoFilesBelow(full);
    return entry.name.endsWith('.proto') ? [full] : [];
  });
}

/**
 * Loads the protos below `dir`. `google/protobuf/*` comes with protobufjs unless the directory has it.
 * Throws when a file does not parse, or imports what is not there.
 * @returns {{ root: protobuf.Root, files: Map<string, ProtoFile> }}
 */
export function loadProtos(dir) {
  const root = new protobuf.Root();
  /** @type {Map<string, ProtoFile>} */
  const files = new Map();
  for (const full of protoFilesBelow(dir).toSorted()) {
    const name = path.relative(dir, full).split(path.sep).join('/');
    const source = readFileSync(full, 'utf8');
    const before = new Set(allObjects(root));
    let parsed;
    try {
      parsed = protobuf.parse(source, root, { keepCase: true, alternateCommentMode: true });
    } catch (err) {
      throw new Error(`${name}: ${err.message}`, { cause: err });
    }
    for (const object of allObjects(root)) if (!before.has(object)) object.filename = name;
    files.set(name, { name, package: parsed.package ?? '', imports: parsed.imports ?? [] });
  }
  addWellKnown(root, files);
  root.resolveAll();
  return { root, files };
}

function addWellKnown(root, files) {
  const wanted = new Set([...files.values()].flatMap((file) => file.imports));
  for (const name of [...wanted].toSorted()) {
    if (files.has(name)) continue;
    const bundled = protobuf.common.get(name);
    if (!bundled) throw new Error(`import "${name}": no such file`);
    const before = new Set(allObjects(root));
    root.addJSON(bundled.nested);
    for (const object of allObjects(root)) if (!before.has(object)) object.filename = name;
    files.set(name, { name, package: 'google.protobuf', imports: [] });
  }
}

/** Every message, enum and service, nested ones included, parents first. */
export function allObjects(namespace) {
  return (namespace.nestedArray ?? []).flatMap((object) => {
    const own = isDefinition(object) ? [object] : [];
    return object instanceof protobuf.Namespace && !(object instanceof protobuf.Service)
      ? [...own, ...allObjects(object)]
      : own;
  });
}

function isDefinition(object) {
  return object instanceof protobuf.Type || object instanceof protobuf.Enum || object instanceof protobuf.Service;
}

/** `containerd.events.TaskExit`, without the leading dot. */
export function fullName(object) {
  return object.fullName.replace(/^\./, '');
}

/** The package an object stands in. */
export function packageOf(object) {
  let scope = object.parent;
  while (scope instanceof protobuf.Type) scope = scope.parent;
  return fullName(scope);
}

/** How a field occurs; see FieldLabel in src/message-type.ts. */
export function labelOf(field) {
  if (field.map) return 'map';
  if (field.repeated) return 'repeated';
  return field.partOf ? 'optional' : 'singular';
}

/** proto3's JSON name, which is the property name in TypeScript too. */
export function camelCase(name) {
  return name.replace(/_+(.)/g, (_, letter) => letter.toUpperCase());
}
