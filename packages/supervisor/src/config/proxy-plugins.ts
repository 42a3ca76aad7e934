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
 * One key is our own: `snapshotter`, when whoever listens there has several and does not know it by the plugin's name.
 */
import path from 'node:path';
import { invalidArgument } from '@gantry/errors';

export interface ProxyPlugin {
  readonly name: string;
  /** A snapshotter; containerd's other types are not known. */
  readonly type: 'snapshot';
  /** Of its unix socket. */
  readonly address: string;
  /** What it is called there, when that is another name. */
  readonly snapshotter: string;
  /** `os/architecture`; this host's when empty. */
  readonly platform: string;
  readonly capabilities: readonly string[];
  readonly exports: Readonly<Record<string, string>>;
}

/** Names that are taken by snapshotters of our own. */
const ownNames: ReadonlySet<string> = new Set(['overlayfs', 'native', 'erofs']);

const knownKeys: ReadonlySet<string> = new Set([
  'type',
  'address',
  'snapshotter',
  'platform',
  'capabilities',
  'exports',
]);

/** What the table says; `place` names it in errors. Throws invalid argument naming the key. */
export function parseProxyPlugins(table: Readonly<Record<string, unknown>>, place: string): ProxyPlugin[] {
  return Object.entries(table).map(([name, value]) => {
    const at = `${place}.${name}`;
    const fields = tableOf(value, at);
    for (const key of Object.keys(fields)) {
      if (!knownKeys.has(key)) throw invalidArgument(`${at}.${key}: no such key`);
    }
    const type = textOf(fields['type'], `${at}.type`);
    if (type !== 'snapshot') throw invalidArgument(`${at}.type: ${JSON.stringify(type)} is not "snapshot"`);
    if (ownNames.has(name)) throw invalidArgument(`${at}: gantryd has a snapshotter of this name itself`);
    const address = textOf(fields['address'], `${at}.address`).replace(/^unix:\/\//, '');
    if (!path.isAbsolute(address)) throw invalidArgument(`${at}.address: must be the path of a unix socket`);
    return {
      name,
      type,
      address,
      snapshotter: textOf(fields['snapshotter'] ?? name, `${at}.snapshotter`),
      platform: textOf(fields['platform'] ?? '', `${at}.platform`),
      capabilities: listOf(fields['capabilities'] ?? [], `${at}.capabilities`),
      exports: Object.fromEntries(
        Object.entries(tableOf(fields['exports'] ?? {}, `${at}.exports`)).map(([key, text]) => [
          key,
          textOf(text, `${at}.exports.${key}`),
        ]),
      ),
    };
  });
}

/** The TOML form. */
export function formatProxyPlugins(plugins: readonly ProxyPlugin[]): string[] {
  return plugins.flatMap(({ name, type, address, snapshotter, platform, capabilities, exports }) => [
    `[proxy_plugins.${JSON.stringify(name)}]`,
    `type = ${JSON.stringify(type)}`,
    `address = ${JSON.stringify(address)}`,
    ...(snapshotter === name ? [] : [`snapshotter = ${JSON.stringify(snapshotter)}`]),
    ...(platform === '' ? [] : [`platform = ${JSON.stringify(platform)}`]),
    ...(capabilities.length === 0 ? [] : [`capabilities = ${JSON.stringify(capabilities)}`]),
    ...(Object.keys(exports).length === 0 ? [] : [`[proxy_plugins.${JSON.stringify(name)}.exports]`]),
    ...Object.entries(exports).map(([key, text]) => `${JSON.stringify(key)} = ${JSON.stringify(text)}`),
    '',
  ]);
}

function tableOf(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw invalidArgument(`${at}: must be a table`);
}

function textOf(value: unknown, at: string): string {
  if (typeof value === 'string') return value;
  throw invalidArgument(`${at}: must be text`);
}

function listOf(value: unknown, at: string): string[] {
  if (!Array.isArray(value)) throw invalidArgument(`${at}: must be a list`);
  return value.map((item, index) => textOf(item, `${at}[${index}]`));
}
