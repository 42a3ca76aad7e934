/** containerd.services.introspection.v1.Introspection: what this server is and what it is made of. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { introspection, packAny, types, unpackAny } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { notFound, wrap } from '@gantry/errors';
import { compileFilters, pluginAdaptor } from '../filters/index.ts';
import type { Plugin } from '../plugins.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

export interface IntrospectionServiceComponents {
  readonly plugins: readonly Plugin[];
  /** See `serverUuid`. */
  readonly uuid: string;
  /** Describes a runtime for PluginInfo of the task runtime; its errors are the call's. */
  readonly runtimeInfo?: (request: types.RuntimeRequest) => Promise<PartialMessage<types.RuntimeInfo>>;
}

/** The plugin that can be asked about runtimes. */
const runtimePlugin = { type: 'io.containerd.runtime.v2', id: 'task' } as const;

export function introspectionService(components: IntrospectionServiceComponents): Binding {
  const { plugins, uuid, runtimeInfo } = components;
  return bind(introspection.IntrospectionService, {
    plugins: ({ filters }) => {
      const matches = compileFilters(filters);
      return { plugins: plugins.filter((plugin) => matches(pluginAdaptor(plugin))) };
    },

    async server() {
      // The inode that /proc/self/ns/pid leads to (namespaces(7)).
      const pidns = (await stat('/proc/self/ns/pid', { bigint: true })).ino;
      return { uuid, pid: BigInt(process.pid), pidns, deprecations: [] };
    },

    async pluginInfo({ type, id, options }) {
      const plugin = plugins.find((known) => known.type === type && known.id === id);
      if (plugin === undefined) throw notFound(`plugin ${type}.${id}`);
      const describes = type === runtimePlugin.type && id === runtimePlugin.id;
      if (!describes || options === undefined || runtimeInfo === undefined) return { plugin };
      const info = await runtimeInfo(unpackAny(types.RuntimeRequest, options));
      return { plugin, extra: packAny(types.RuntimeInfo, info) };
    },
  });
}

/** The server's identity: chosen at the first start, kept below `root`, the same ever after. */
export async function serverUuid(root: string): Promise<string> {
  const directory = path.join(root, 'io.containerd.grpc.v1.introspection');
  const file = path.join(directory, 'uuid');
  try {
    const known = (await readFile(file, 'utf8').catch(absent)).trim();
    if (known !== '') return known;
    const uuid = randomUUID();
    await mkdir(directory, { recursive: true, mode: 0o711 });
    const temporary = `${file}.new`;
    await using handle = await open(temporary, 'w', 0o644);
    await handle.writeFile(uuid);
    await handle.sync();
    await rename(temporary, file);
    return uuid;
  } catch (err) {
    throw wrap(err, `reading the server's uuid from ${file}`);
  }
}

function absent(err: unknown): string {
  if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return '';
  throw err;
}
