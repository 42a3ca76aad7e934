/** The metadata store, blobs, snapshots, differs and garbage. */
import path from 'node:path';
import { ContentStore } from '@gantry/content';
import { Differ } from '@gantry/diff';
import { SnapshotStore } from '@gantry/snapshots';
import { openStore } from '@gantry/store';
import type { Config } from './config/config.ts';
import { proxiesOf } from './config/proxy-plugins.ts';
import { streamProcessor } from './config/stream-processors.ts';
import { OrderedDiffers } from './differs/layer-differ.ts';
import { WalkingDiffer } from './differs/walking-differ.ts';
import type { EventExchange } from './events/exchange.ts';
import { GarbageCollector } from './gc/collector.ts';
import type { Log } from './log.ts';
import { ProxyContent } from './proxy/proxy-content.ts';
import { ProxyDiffer } from './proxy/proxy-differ.ts';
import { isShareable } from './services/namespace-records.ts';
import { loadSnapshotters } from './snapshotters.ts';
import type { Store } from '@gantry/store';
import { keepDescriptorsFromChildren } from './descriptors.ts';
import type { Teardown } from './teardown.ts';

/** What is kept, and who works on it. */
export interface Storage {
  readonly store: Store;
  readonly content: ContentStore;
  readonly snapshots: SnapshotStore;
  readonly snapshotters: Awaited<ReturnType<typeof loadSnapshotters>>;
  readonly differs: OrderedDiffers;
  readonly gc: GarbageCollector;
}

/** Opens it all, and mends what a crash has left. Nothing is collected before `gc.start`. */
export async function openStorage(
  config: Config,
  events: EventExchange,
  log: Log,
  teardowns: Teardown[],
): Promise<Storage> {
  const { root } = config;
  const store = await openStore(path.join(root, 'meta'));
  teardowns.push(() => store.close());
  keepDescriptorsFromChildren();
  const far = openFarContent(config, teardowns);
  const content = new ContentStore({
    far,
    root: path.join(root, 'content'),
    store,
    ...(config.sharingPolicy === 'isolated' && { shares: (namespace) => isShareable(store, namespace) }),
  });
  report(log, 'content', await content.reconcile());
  const differ = new Differ({ processors: config.streamProcessors.map(streamProcessor) });
  teardowns.push(() => differ.close());
  const snapshotters = await loadSnapshotters(path.join(root, 'snapshots'), config, differ);
  teardowns.push(snapshotters.close);
  const onError = (text: string): void => log.error(text);
  const snapshots = new SnapshotStore({ store, snapshotters: snapshotters.snapshotters, onError });
  report(log, 'snapshots', await snapshots.reconcile());
  const differs = openDiffers(config, { content, differ, events }, teardowns);
  const gc = new GarbageCollector({ store, content, snapshots, events, log, config: config.gc });
  teardowns.push(() => gc.close());
  return { store, content, snapshots, snapshotters, differs, gc };
}

/** Where the bytes of blobs are, when that is another process. */
function openFarContent({ proxyPlugins }: Config, teardowns: Teardown[]): ProxyContent | undefined {
  const [plugin] = proxiesOf(proxyPlugins, 'content');
  if (plugin === undefined) return undefined;
  const far = new ProxyContent(plugin);
  teardowns.push(() => far.close());
  return far;
}

/** Our own differ and those in other processes, in the order of the configuration. */
function openDiffers(
  { diff: wanted, proxyPlugins }: Config,
  own: ConstructorParameters<typeof WalkingDiffer>[0],
  teardowns: Teardown[],
): OrderedDiffers {
  const others = proxiesOf(proxyPlugins, 'diff').map((plugin) => new ProxyDiffer(plugin));
  for (const other of others) teardowns.push(() => other.close());
  return new OrderedDiffers([new WalkingDiffer(own), ...others], wanted);
}

/** Logs what a room found at start; nothing when it found nothing. */
function report(log: Log, room: string, found: object): void {
  const notable = Object.entries(found).filter(([, value]) => Array.isArray(value) && value.length > 0);
  if (notable.length > 0) log.warn(Object.fromEntries(notable), `${room} reconciled`);
}
