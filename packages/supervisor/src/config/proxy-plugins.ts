/**
 * `[proxy_plugins.<name>]`: plugins in other processes, in containerd's own words, so that what their documentation says can be
 * copied.
 *
 *     [proxy_plugins.stargz]
 *       type = "snapshot"
 *       address = "/run/containerd-stargz-grpc/containerd-stargz-grpc.sock"
 *       [proxy_plugins.stargz.exports]
 *         enable_remote_snapshot_annotations = "true"
 *
 * Types are `snapshot`, `content`, `diff` and `sandbox`, or the names of containerd's plugin types. One key is our own: `name`, when
 * whoever listens there does not know what it has by the plugin's name (`snapshotter` is the same for a snapshotter).
 */
import path from 'node:path';
import { invalidArgument } from '@gantry/errors';
import { fieldsOf, tableOf, textOf, textsOf } from './fields.ts';

const types = ['snapshot', 'content', 'diff', 'sandbox'] as const;
export type ProxyType = (typeof types)[number];

/** containerd's names for its plugin types, which its configuration takes as well. */
const longNames: ReadonlyMap<string, ProxyType> = new Map([
  ['io.containerd.snapshotter.v1', 'snapshot'],
  ['io.containerd.content.v1', 'content'],
  ['io.containerd.differ.v1', 'diff'],
  ['io.containerd.sandbox.controller.v1', 'sandbox'],
]);

export interface ProxyPlugin {
  readonly name: string;
  readonly type: ProxyType;
  /** Of its unix socket. */
  readonly address: string;
  /** What it is called there, when that is another name. */
  readonly farName: string;
  /** `os/architecture`; this host's when empty. */
  readonly platform: string;
  readonly capabilities: readonly string[];
  readonly exports: Readonly<Record<string, string>>;
}

/** Names that are taken by what we have ourselves. */
const ownNames: Readonly<Record<ProxyType, { readonly what: string; readonly names: ReadonlySet<string> }>> = {
  snapshot: { what: 'snapshotter', names: new Set(['overlayfs', 'native', 'erofs']) },
  content: { what: 'content store', names: new Set(['content']) },
  diff: { what: 'differ', names: new Set(['walking']) },
  sandbox: { what: 'sandbox controller', names: new Set(['shim']) },
};

const knownKeys = ['type', 'address', 'name', 'snapshotter', 'platform', 'capabilities', 'exports'] as const;

/** What the table says; `place` names it in errors. Throws invalid argument naming the key. */
export function parseProxyPlugins(table: Readonly<Record<string, unknown>>, place: string): ProxyPlugin[] {
  return Object.entries(table).map(([name, value]) => {
    const at = `${place}.${name}`;
    const fields = fieldsOf(value, at, knownKeys);
    const type = typeOf(textOf(fields['type'], `${at}.type`), `${at}.type`);
    const own = ownNames[type];
    if (own.names.has(name)) throw invalidArgument(`${at}: gantryd has a ${own.what} of this name itself`);
    if (type !== 'snapshot' && fields['snapshotter'] !== undefined) {
      throw invalidArgument(`${at}.snapshotter: only a plugin of type "snapshot" has one`);
    }
    const address = textOf(fields['address'], `${at}.address`).replace(/^unix:\/\//, '');
    if (!path.isAbsolute(address)) throw invalidArgument(`${at}.address: must be the path of a unix socket`);
    return {
      name,
      type,
      address,
      farName: textOf(fields['name'] ?? fields['snapshotter'] ?? name, `${at}.name`),
      platform: textOf(fields['platform'] ?? '', `${at}.platform`),
      capabilities: textsOf(fields['capabilities'] ?? [], `${at}.capabilities`),
      exports: Object.fromEntries(
        Object.entries(tableOf(fields['exports'] ?? {}, `${at}.exports`)).map(([key, text]) => [
          key,
          textOf(text, `${at}.exports.${key}`),
        ]),
      ),
    };
  });
}

/** Those of one type. */
export function proxiesOf(plugins: readonly ProxyPlugin[], type: ProxyType): ProxyPlugin[] {
  return plugins.filter((plugin) => plugin.type === type);
}

/** The TOML form. */
export function formatProxyPlugins(plugins: readonly ProxyPlugin[]): string[] {
  return plugins.flatMap(({ name, type, address, farName, platform, capabilities, exports }) => [
    `[proxy_plugins.${JSON.stringify(name)}]`,
    `type = ${JSON.stringify(type)}`,
    `address = ${JSON.stringify(address)}`,
    ...(farName === name ? [] : [`name = ${JSON.stringify(farName)}`]),
    ...(platform === '' ? [] : [`platform = ${JSON.stringify(platform)}`]),
    ...(capabilities.length === 0 ? [] : [`capabilities = ${JSON.stringify(capabilities)}`]),
    ...(Object.keys(exports).length === 0 ? [] : [`[proxy_plugins.${JSON.stringify(name)}.exports]`]),
    ...Object.entries(exports).map(([key, text]) => `${JSON.stringify(key)} = ${JSON.stringify(text)}`),
    '',
  ]);
}

function typeOf(text: string, at: string): ProxyType {
  const type = types.find((known) => known === text) ?? longNames.get(text);
  if (type !== undefined) return type;
  throw invalidArgument(`${at}: ${JSON.stringify(text)} is not one of ${types.join(', ')}`);
}
