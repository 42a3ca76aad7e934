/** The parser of a runtime configuration (`config.json`). */
import { parseJson } from '../parse/json.ts';
import {
  absolutePath,
  bool,
  int64,
  list,
  memberPath,
  members,
  nonEmptyText,
  object,
  optional,
  refuse,
  text,
  textList,
  textRecord,
  where,
} from '../parse/parser.ts';
import type { Parser } from '../parse/parser.ts';
import { runtimeDocumentLimits } from './limits.ts';
import { idMappings, linuxSection } from './parse-linux.ts';
import { linuxProcess } from './parse-process.ts';
import { hookKinds } from './spec.ts';
import type { Hook, Hooks, Mount, Root, Spec } from './spec.ts';

const version = where(text, (value) => {
  if (!/^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$/.test(value)) return `not a version: ${JSON.stringify(value)}`;
  return value.startsWith('1.') ? undefined : `unsupported version ${JSON.stringify(value)}, the major must be 1`;
});

const mount = object<Mount>({
  destination: nonEmptyText,
  type: optional(text),
  source: optional(text),
  options: optional(textList),
  uidMappings: optional(idMappings),
  gidMappings: optional(idMappings),
});

const hook = object<Hook>({
  path: absolutePath,
  args: optional(textList),
  env: optional(textList),
  timeout: optional(where(int64, (seconds) => (seconds > 0 ? undefined : 'must be greater than zero'))),
});

const hookShape = object<Hooks>({
  prestart: optional(list(hook)),
  createRuntime: optional(list(hook)),
  createContainer: optional(list(hook)),
  startContainer: optional(list(hook)),
  poststart: optional(list(hook)),
  poststop: optional(list(hook)),
});

/** The kind is an enumerated value although it is written as a key. */
const hooks: Parser<Hooks> = (value, path) => {
  const known: ReadonlySet<string> = new Set(hookKinds);
  for (const kind of Object.keys(members(value, path))) {
    if (!known.has(kind)) throw refuse(memberPath(path, kind), 'unknown hook');
  }
  return hookShape(value, path);
};

const spec = object<Spec>({
  ociVersion: version,
  process: optional(linuxProcess),
  root: optional(object<Root>({ path: nonEmptyText, readonly: optional(bool) })),
  hostname: optional(text),
  domainname: optional(text),
  mounts: optional(list(mount)),
  hooks: optional(hooks),
  annotations: optional(textRecord),
  linux: optional(linuxSection),
});

/**
 * Parses a configuration. Unknown members are ignored; unknown enumerated values (a namespace type, a hook kind, a
 * seccomp action …) and values outside their range are refused. Throws invalid argument naming the JSON path.
 */
export function parseSpec(unsafeDocument: Uint8Array | string): Spec {
  return spec(parseJson(unsafeDocument, 'runtime configuration', runtimeDocumentLimits), '');
}
