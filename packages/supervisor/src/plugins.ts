/**
 * What gantry is made of, in the words of containerd's plugin list. Clients choose snapshotters by it and tell by it
 * whether something is there at all, so it names what exists and nothing else.
 */
import { introspection, types } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import path from 'node:path';
import { toStatus } from '@gantry/errors';
import { hostPlatform } from '@gantry/oci';
import { proxiesOf } from './config/proxy-plugins.ts';
import type { ProxyPlugin, ProxyType } from './config/proxy-plugins.ts';
import { formatDuration } from './duration.ts';
import { restartPolicies } from './restart/policy.ts';
import type { GcConfig } from './gc/pace.ts';

/** One plugin as Introspection answers it. */
export type Plugin = introspection.Plugin;

/** A snapshotter that is there, or is known and cannot be. */
export interface SnapshotterPlugin {
  readonly name: string;
  /** Where it keeps its trees (`root`), where it listens (`address`), what else it says of itself. */
  readonly exports: Readonly<Record<string, string>>;
  readonly capabilities?: readonly string[];
  /** `os/architecture[/variant]`; this host's when absent or empty. */
  readonly platform?: string;
  /** Why it cannot be used on this host; undefined when it can. */
  readonly error?: unknown;
}

export interface PluginListOptions {
  /** The persistent directory. */
  readonly root: string;
  readonly snapshotters: readonly SnapshotterPlugin[];
  /** Plugins in other processes; of their snapshotters is said above what there is to say. */
  readonly proxies: readonly ProxyPlugin[];
  /** What the collector works by. */
  readonly gc: GcConfig;
}

const metadata = 'io.containerd.metadata.v1';
const event = 'io.containerd.event.v1';
const service = 'io.containerd.service.v1';

/** The list, in containerd's order: what others need comes first. */
export function pluginList({ root, snapshotters, gc, proxies }: PluginListOptions): Plugin[] {
  const { os, architecture, variant = '' } = hostPlatform();
  const platforms = [types.Platform.create({ os, architecture, variant })];
  const others = (type: ProxyType, pluginType: string): Plugin[] =>
    proxiesOf(proxies, type).map(({ name, address, exports, capabilities, platform }) =>
      plugin(pluginType, name, {
        platforms: platform === '' ? platforms : [platformNamed(platform)],
        exports: { ...exports, address },
        capabilities: [...capabilities],
      }),
    );
  // Blobs are in one place: ours is not used when there is another.
  const farContent = others('content', 'io.containerd.content.v1');
  return [
    ...(farContent.length > 0
      ? farContent
      : [plugin('io.containerd.content.v1', 'content', { exports: { root: path.join(root, 'content') } })]),
    ...snapshotters.map(({ name, exports, capabilities = [], platform = '', error }) =>
      plugin('io.containerd.snapshotter.v1', name, {
        platforms: platform === '' ? platforms : [platformNamed(platform)],
        exports: { ...exports },
        capabilities: [...capabilities],
        ...(error === undefined ? {} : { initErr: skipped(error) }),
      }),
    ),
    plugin(metadata, 'bolt', {
      requires: ['io.containerd.content.v1', 'io.containerd.snapshotter.v1'],
      exports: { policy: 'shared' },
    }),
    plugin('io.containerd.differ.v1', 'walking', { platforms, requires: [metadata] }),
    ...others('diff', 'io.containerd.differ.v1'),
    plugin(event, 'exchange'),
    plugin('io.containerd.gc.v1', 'scheduler', {
      requires: [metadata],
      exports: {
        PauseThreshold: String(gc.pauseThreshold),
        DeletionThreshold: String(gc.deletionThreshold),
        MutationThreshold: String(gc.mutationThreshold),
        ScheduleDelay: formatDuration(gc.scheduleDelayMs),
      },
    }),
    plugin('io.containerd.lease.v1', 'manager', { requires: [metadata] }),
    plugin('io.containerd.streaming.v1', 'manager', { requires: [metadata] }),
    plugin('io.containerd.image-verifier.v1', 'bindir'),
    plugin('io.containerd.transfer.v1', 'local', {
      platforms,
      requires: ['io.containerd.lease.v1', metadata, 'io.containerd.differ.v1'],
    }),
    plugin('io.containerd.runtime.v2', 'task', {
      platforms,
      requires: [event, metadata],
      exports: { 'log-uri-schemes': 'fifo,binary,file' },
    }),
    plugin('io.containerd.sandbox.store.v1', 'local', { requires: [metadata] }),
    plugin('io.containerd.sandbox.controller.v1', 'shim', { requires: ['io.containerd.runtime.v2', event] }),
    ...others('sandbox', 'io.containerd.sandbox.controller.v1'),
    plugin('io.containerd.monitor.task.v1', 'cgroups', { platforms, requires: [event] }),
    plugin('io.containerd.monitor.container.v1', 'restart', { capabilities: [...restartPolicies] }),
    ...services().map(([id, requires]) => plugin(service, `${id}-service`, { requires })),
    ...grpcServices().map(([id, requires]) => plugin('io.containerd.grpc.v1', id, { requires })),
  ];
}

function services(): [id: string, requires: string[]][] {
  return [
    ['introspection', []],
    ['containers', [event, metadata]],
    ['content', [event, metadata]],
    ['diff', ['io.containerd.differ.v1']],
    ['images', [metadata, 'io.containerd.gc.v1']],
    ['leases', [metadata]],
    ['namespaces', [event, metadata]],
    ['snapshots', [event, metadata]],
    ['tasks', [event, metadata, 'io.containerd.runtime.v2', 'io.containerd.monitor.task.v1']],
  ];
}

function grpcServices(): [id: string, requires: string[]][] {
  const behind = ['introspection', 'containers', 'content', 'diff', 'images', 'leases', 'namespaces', 'snapshots'];
  return [
    ...[...behind, 'tasks'].map((id): [string, string[]] => [id, [service]]),
    ['events', [event]],
    ['healthcheck', []],
    ['sandboxes', ['io.containerd.sandbox.store.v1']],
    ['sandbox-controllers', ['io.containerd.sandbox.controller.v1', event]],
    ['streaming', ['io.containerd.streaming.v1']],
    ['transfer', ['io.containerd.transfer.v1', 'io.containerd.streaming.v1']],
    ['version', []],
  ];
}

function plugin(type: string, id: string, rest: PartialMessage<Plugin> = {}): Plugin {
  return introspection.Plugin.create({ ...rest, type, id });
}

/** Clients show a plugin as skipped when its error says so, else as broken. */
function skipped(error: unknown): { code: number; message: string } {
  const { code, message } = toStatus(error);
  return { code, message: message.includes('skip plugin') ? message : `${message}: skip plugin` };
}

function platformNamed(text: string): types.Platform {
  const [os = '', architecture = '', variant = ''] = text.split('/');
  return types.Platform.create({ os, architecture, variant });
}
