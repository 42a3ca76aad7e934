/** Everything that stands behind the API, made in order: tasks, what is kept, the services over them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { failpoint, messageOf } from '@gantry/errors';
import type { Config } from './config/config.ts';
import type { EventExchange } from './events/exchange.ts';
import type { GarbageCollector } from './gc/collector.ts';
import type { Log } from './log.ts';
import { pluginList } from './plugins.ts';
import { RestartMonitor } from './restart/monitor.ts';
import type { Binding } from './rpc/handlers.ts';
import { containersService } from './services/containers.ts';
import { contentService } from './services/content.ts';
import { diffService } from './services/diff.ts';
import { healthService } from './services/health.ts';
import { ImageRecords } from './images/image-records.ts';
import { imagesService } from './services/images.ts';
import { introspectionService, serverUuid } from './services/introspection.ts';
import { leasesService } from './services/leases.ts';
import { namespacesService } from './services/namespaces.ts';
import { sandboxControllerService } from './services/sandbox-controller.ts';
import { sandboxStoreService } from './services/sandbox-store.ts';
import { snapshotsService } from './services/snapshots.ts';
import { streamingService } from './services/streaming.ts';
import { tasksService } from './services/tasks.ts';
import { transferService } from './services/transfer.ts';
import { runtimeInformant } from './shims/runtime-info.ts';
import type { SpareLauncher } from './shims/spare-launcher.ts';
import { Streams } from './streams/streams.ts';
import { Checkpoints } from './tasks/checkpoints.ts';
import type { TaskManager } from './tasks/manager.ts';
import { findTasks, reconcileTasks } from './tasks/reconcile.ts';
import { defaultTimeouts } from './timeouts.ts';
import { openStorage } from './open-storage.ts';
import { openControllers, openTasks } from './open-tasks.ts';
import type { Teardown } from './teardown.ts';

/** What the answer of one more shim may take at the start, on a busy machine. */
const answerMs = 5;

/** After the shims that were there have answered, before shims for the next containers are made and garbage is looked for. */
const quietMs = 250;

/** What stands behind the API. */
export interface Rooms {
  readonly services: readonly Binding[];
  /** Comes when the shims have answered, or have had their time to. */
  readonly tasks: Promise<Binding>;
  readonly reconciled: Promise<void>;
}

export async function openRooms(
  config: Config,
  events: EventExchange,
  log: Log,
  teardowns: Teardown[],
): Promise<Rooms> {
  const { root } = config;
  const timeouts = defaultTimeouts;
  await failpoint('start.before-tasks');
  const { manager, launcher, sandboxes } = await openTasks(config, events, log, teardowns);
  const findings = await findTasks(manager);
  const reconciled = reconcileTasks(manager, findings).then(
    () => log.info({ tasks: manager.all().length }, 'tasks are reconciled'),
    (err: unknown) => log.error({ err: messageOf(err) }, 'reconciling tasks'),
  );

  await failpoint('start.before-store');
  const storage = await openStorage(config, events, log, teardowns);
  const { store, content: blobs, snapshots: trees, snapshotters, differs, gc } = storage;
  const checkpoints = new Checkpoints({ root, content: blobs });
  void reconciled
    .then(() => checkpoints.prepare(() => manager.all()))
    .catch((err: unknown) => log.warn({ err: messageOf(err) }, 'looking for checkpoints of no task'));
  const controllers = openControllers(config, sandboxes, teardowns);
  const imageRecords = new ImageRecords({ store, events, gc });
  const streams = new Streams();
  const plugins = pluginList({ root, snapshotters: snapshotters.known, gc: config.gc, proxies: config.proxyPlugins });
  const services: readonly Binding[] = [
    introspectionService({ plugins, uuid: await serverUuid(root), runtimeInfo: runtimeInformant(config, timeouts) }),
    healthService(),
    namespacesService({ store, events }),
    leasesService({ store, gc }),
    contentService({ content: blobs, events, gc, onLayer: () => differs.warm() }),
    imagesService({ records: imageRecords }),
    snapshotsService({ snapshots: trees, events, gc }),
    diffService({ differs }),
    containersService({ store, events, gc }),
    sandboxStoreService({ store, gc }),
    sandboxControllerService({ store, controllers, events }),
    streamingService({ streams }),
    transferService({
      store,
      content: blobs,
      snapshots: trees,
      differ: differs,
      events,
      gc,
      images: imageRecords,
      streams,
      hostDirectories: config.registryDirectories,
      allowForeignLayers: config.foreignLayers,
      concurrentDownloads: config.concurrentDownloads,
      concurrentUploads: config.concurrentUploads,
      verifiers: { config: config.imageVerifier, log },
      defaultSnapshotter: snapshotters.snapshotters[0]?.name ?? 'native',
      onLoaded: (end) => teardowns.push(end),
    }),
  ];
  const patienceMs = Math.min(timeouts.firstLookMs + findings.candidates.length * answerMs, timeouts.shimLoadMs);
  const looked = Promise.race([reconciled, sleep(patienceMs, undefined, { ref: false })]);
  settleDown(reconciled, { manager, launcher, gc }, teardowns);
  const tasksBinding = looked.then(() =>
    tasksService({ checkpoints, store, snapshots: trees, tasks: manager, sandboxes, controllers, timeouts }),
  );
  const all = tasksBinding.then((binding) => [...services, binding]);
  const restarts = new RestartMonitor({ store, services: all, intervalMs: config.restartIntervalMs, log });
  teardowns.push(() => restarts.close());
  void reconciled.then(() => restarts.start());
  return { services, tasks: tasksBinding, reconciled };
}

/** A moment after the tasks have been judged: shims are dialled, spares are made, garbage is looked for. */
function settleDown(
  reconciled: Promise<void>,
  { manager, launcher, gc }: { manager: TaskManager; launcher: SpareLauncher; gc: GarbageCollector },
  teardowns: Teardown[],
): void {
  let timer: NodeJS.Timeout | undefined;
  let ended = false;
  teardowns.push(() => {
    ended = true;
    clearTimeout(timer);
  });
  const settle = async (): Promise<void> => {
    await Promise.race([manager.wakeAll(), sleep(defaultTimeouts.shimLoadMs, undefined, { ref: false })]);
    if (ended) return;
    launcher.start();
    gc.start();
  };
  void reconciled.then(() => {
    if (!ended) timer = setTimeout(() => void settle(), manager.all().length === 0 ? 0 : quietMs);
  });
}
