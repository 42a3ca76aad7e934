/**
 * The composition root: everything gantryd consists of, made once, in order, and taken down in reverse. A reader sees
 * here what runs.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  containers,
  content,
  diff,
  health,
  images,
  introspection,
  leases,
  namespaces,
  sandbox,
  snapshots,
  streaming,
  tasks,
  transfer,
} from '@gantry/api';
import type { ServiceType } from '@gantry/api';
import { ContentStore } from '@gantry/content';
import { Differ } from '@gantry/diff';
import { failpoint, internal, messageOf, unavailable } from '@gantry/errors';
import { CLOSE_RANGE_CLOEXEC, linux } from '@gantry/libc';
import { SnapshotStore } from '@gantry/snapshots';
import { openStore } from '@gantry/store';
import type { Config } from './config/config.ts';
import { proxiesOf } from './config/proxy-plugins.ts';
import { streamProcessor } from './config/stream-processors.ts';
import { OrderedDiffers } from './differs/layer-differ.ts';
import { WalkingDiffer } from './differs/walking-differ.ts';
import { EventExchange } from './events/exchange.ts';
import { eventReceiver } from './events/receiver.ts';
import { GarbageCollector } from './gc/collector.ts';
import { acquireLock } from './lock.ts';
import type { Log } from './log.ts';
import { pluginList } from './plugins.ts';
import { ProxyContent } from './proxy/proxy-content.ts';
import { ProxyDiffer } from './proxy/proxy-differ.ts';
import { ProxySandboxController } from './proxy/proxy-sandbox-controller.ts';
import { RestartMonitor } from './restart/monitor.ts';
import { serveApi } from './rpc/api-socket.ts';
import type { Binding } from './rpc/handlers.ts';
import { later } from './rpc/later.ts';
import { containersService } from './services/containers.ts';
import { contentService } from './services/content.ts';
import { diffService } from './services/diff.ts';
import { eventsService } from './services/events.ts';
import { healthService } from './services/health.ts';
import { ImageRecords } from './images/image-records.ts';
import { imagesService } from './services/images.ts';
import { introspectionService, serverUuid } from './services/introspection.ts';
import { leasesService } from './services/leases.ts';
import { isShareable } from './services/namespace-records.ts';
import { namespacesService } from './services/namespaces.ts';
import { reflectionServices } from './services/reflection.ts';
import type { SandboxController } from './sandboxes/sandbox-controller.ts';
import { Sandboxes } from './sandboxes/sandboxes.ts';
import { ShimController } from './sandboxes/shim-controller.ts';
import { sandboxControllerService } from './services/sandbox-controller.ts';
import { sandboxStoreService } from './services/sandbox-store.ts';
import { snapshotsService } from './services/snapshots.ts';
import { streamingService } from './services/streaming.ts';
import { tasksService } from './services/tasks.ts';
import { transferService } from './services/transfer.ts';
import { versionService } from './services/version.ts';
import { runtimeInformant } from './shims/runtime-info.ts';
import { sealedNode } from './shims/sealed-node.ts';
import { ForkOrSpawnNursery } from './shims/nursery-with-fallback.ts';
import { ForeignShims } from './shims/foreign/foreign-shims.ts';
import { gantrydEntry } from './shims/shim-program.ts';
import { SpareLauncher } from './shims/spare-launcher.ts';
import { loadSnapshotters } from './snapshotters.ts';
import { Streams } from './streams/streams.ts';
import { Bundles } from './tasks/bundle.ts';
import { Checkpoints } from './tasks/checkpoints.ts';
import { TaskManager } from './tasks/manager.ts';
import { TaskRecords } from './tasks/record.ts';
import { findTasks, reconcileTasks } from './tasks/reconcile.ts';
import { defaultTimeouts } from './timeouts.ts';
import { revision, version } from './version.ts';
import { withResolvers } from './with-resolvers.ts';

/** What the answer of one more shim may take at the start, on a busy machine. */
const answerMs = 5;

/** After the shims that were there have answered, before shims for the next containers are made and garbage is looked for. */
const quietMs = 250;

export interface Supervisor {
  readonly address: string;
  /** Resolves when every task found at the start has been judged; the API is served before that. */
  readonly reconciled: Promise<void>;
  /** Takes no new calls, lets those under way end, lets go of the shims: containers run on. */
  close(): Promise<void>;
}

/** What is taken down again, last made first. */
type Teardown = () => Promise<void> | void;

/** Starts a supervisor in this process. Throws with everything taken down again. */
export async function startSupervisor(config: Config, log: Log): Promise<Supervisor> {
  const teardowns: Teardown[] = [];
  const takeDown = async (): Promise<void> => {
    for (let undo = teardowns.pop(); undo !== undefined; undo = teardowns.pop()) {
      try {
        await undo();
      } catch (err) {
        log.error({ err: messageOf(err) }, 'stopping');
      }
    }
  };
  try {
    return await assemble(config, log, teardowns, takeDown);
  } catch (err) {
    await takeDown();
    throw err;
  }
}

/** Answered when the rooms below are open: all of openRooms' services. `version` and `events` need none of them. */
const servicesOfRooms: readonly ServiceType[] = [
  introspection.IntrospectionService,
  health.HealthService,
  namespaces.NamespacesService,
  leases.LeasesService,
  content.ContentService,
  images.ImagesService,
  snapshots.SnapshotsService,
  diff.DiffService,
  containers.ContainersService,
  streaming.StreamingService,
  transfer.TransferService,
  sandbox.StoreService,
  sandbox.ControllerService,
];

/**
 * The API is served first, under the lock of the root, and its calls wait for what they need: the first answer is there
 * long before the last shim's.
 *
 *   lock ─► API ─┬► tasks and shims are looked for ─► dialled ─────────► Tasks ─► (a quiet moment) ─► spares, garbage
 *                └► store ─► content, snapshots reconciled ─► all other services
 */
async function assemble(
  config: Config,
  log: Log,
  teardowns: Teardown[],
  takeDown: () => Promise<void>,
): Promise<Supervisor> {
  const { address, root, state } = config;
  makeDirectories(config);
  teardowns.push(await acquireLock(root));
  const events = new EventExchange();
  const opened = withResolvers<Rooms>();
  const bindings = servicesOfRooms.map((service) =>
    later(
      service,
      opened.promise.then(({ services }) => bindingOf(service, services)),
    ),
  );
  const tasksBinding = opened.promise.then(({ tasks: found }) => found);
  const all = [
    versionService({ version, revision: revision() }),
    eventsService({ exchange: events }),
    later(tasks.TasksService, tasksBinding),
    ...bindings,
  ];
  const described = reflectionServices({ services: all.map(({ service }) => service.typeName) });
  const closeApi = await serveApi(config, [...all, ...described], log);
  let rooms: Rooms;
  try {
    rooms = await openRooms(config, events, log, teardowns);
  } catch (err) {
    opened.reject(unavailable(`gantryd does not start: ${messageOf(err)}`));
    await closeApi(defaultTimeouts.drainMs);
    throw err;
  }
  opened.resolve(rooms);
  teardowns.push(() => closeApi(defaultTimeouts.drainMs));
  log.info({ address, root, state }, 'gantryd serves');
  return { address, reconciled: rooms.reconciled, close: takeDown };
}

/** What stands behind the API. */
interface Rooms {
  readonly services: readonly Binding[];
  /** Comes when the shims have answered, or have had their time to. */
  readonly tasks: Promise<Binding>;
  readonly reconciled: Promise<void>;
}

async function openRooms(config: Config, events: EventExchange, log: Log, teardowns: Teardown[]): Promise<Rooms> {
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
  const store = await openStore(path.join(root, 'meta'));
  teardowns.push(() => store.close());
  keepDescriptorsFromChildren();
  const far = openFarContent(config, teardowns);
  const blobs = new ContentStore({
    far,
    root: path.join(root, 'content'),
    store,
    ...(config.sharingPolicy === 'isolated' && { shares: (namespace) => isShareable(store, namespace) }),
  });
  report(log, 'content', await blobs.reconcile());
  const differ = new Differ({ processors: config.streamProcessors.map(streamProcessor) });
  teardowns.push(() => differ.close());
  const { snapshotters, known, close } = await loadSnapshotters(path.join(root, 'snapshots'), config, differ);
  teardowns.push(close);
  const trees = new SnapshotStore({ store, snapshotters, onError: (text) => log.error(text) });
  report(log, 'snapshots', await trees.reconcile());
  const differs = openDiffers(config, { content: blobs, differ, events }, teardowns);
  const gc = new GarbageCollector({ store, content: blobs, snapshots: trees, events, log, config: config.gc });
  teardowns.push(() => gc.close());

  const checkpoints = new Checkpoints({ root, content: blobs });
  void reconciled
    .then(() => checkpoints.prepare(() => manager.all()))
    .catch((err: unknown) => log.warn({ err: messageOf(err) }, 'looking for checkpoints of no task'));
  const controllers = openControllers(config, sandboxes, teardowns);
  const imageRecords = new ImageRecords({ store, events, gc });
  const streams = new Streams();
  const plugins = pluginList({ root, snapshotters: known, gc: config.gc, proxies: config.proxyPlugins });
  const services: readonly Binding[] = [
    introspectionService({ plugins, uuid: await serverUuid(root), runtimeInfo: runtimeInformant(config, timeouts) }),
    healthService(),
    namespacesService({ store, events }),
    leasesService({ store, gc }),
    contentService({ content: blobs, events, gc }),
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
      verifiers: { config: config.imageVerifier, log },
      defaultSnapshotter: snapshotters[0]?.name ?? 'native',
      onLoaded: (end) => teardowns.push(end),
    }),
  ];
  const patienceMs = Math.min(timeouts.firstLookMs + findings.candidates.length * answerMs, timeouts.shimLoadMs);
  const looked = Promise.race([reconciled, sleep(patienceMs, undefined, { ref: false })]);
  let timer: NodeJS.Timeout | undefined;
  let ended = false;
  teardowns.push(() => {
    ended = true;
    clearTimeout(timer);
  });
  const settleDown = async (): Promise<void> => {
    await Promise.race([manager.wakeAll(), sleep(timeouts.shimLoadMs, undefined, { ref: false })]);
    if (ended) return;
    launcher.start();
    gc.start();
  };
  void reconciled.then(() => {
    if (!ended) timer = setTimeout(() => void settleDown(), manager.all().length === 0 ? 0 : quietMs);
  });
  const tasksBinding = looked.then(() =>
    tasksService({ checkpoints, store, snapshots: trees, tasks: manager, sandboxes, controllers, timeouts }),
  );
  const all = tasksBinding.then((binding) => [...services, binding]);
  const restarts = new RestartMonitor({ store, services: all, intervalMs: config.restartIntervalMs, log });
  teardowns.push(() => restarts.close());
  void reconciled.then(() => restarts.start());
  return { services, tasks: tasksBinding, reconciled };
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

/** The shims as a controller of sandboxes, and those in other processes. */
function openControllers(
  { proxyPlugins }: Config,
  sandboxes: Sandboxes,
  teardowns: Teardown[],
): readonly SandboxController[] {
  const others = proxiesOf(proxyPlugins, 'sandbox').map(
    (plugin) => new ProxySandboxController(plugin, defaultTimeouts),
  );
  for (const other of others) teardowns.push(() => other.close());
  return [new ShimController(sandboxes, defaultTimeouts), ...others];
}

/** The tasks, none looked for yet, with what starts shims and hears from them. */
async function openTasks(
  { address, binaries, runtimes, spareShims, state }: Config,
  events: EventExchange,
  log: Log,
  teardowns: Teardown[],
): Promise<{ manager: TaskManager; launcher: SpareLauncher; sandboxes: Sandboxes }> {
  const timeouts = defaultTimeouts;
  const eventsPath = `${address}.ttrpc`;
  keepDescriptorsFromChildren();
  const node = await sealedNode(state, log);
  teardowns.push(node.close);
  const bundles = new Bundles(state);
  await bundles.prepare();
  const shimLog = openSync(path.join(state, 'shims.log'), 'w', 0o600);
  teardowns.push(() => closeSync(shimLog));
  const nursery = new ForkOrSpawnNursery({
    node: node.path,
    scratch: path.join(state, 'zygote'),
    logFd: shimLog,
    timeouts,
    log,
  });
  const launcher = new SpareLauncher({
    nursery,
    spares: spareShims,
    socketDir: bundles.spareDir,
    eventsPath,
    node: node.path,
    timeouts,
    log,
  });
  teardowns.push(() => launcher.close());
  const records = new TaskRecords(state);
  records.prepare();
  const foreign = new ForeignShims({ address, eventsPath, publishBinary: gantrydEntry(), timeouts, log });
  const sandboxes = new Sandboxes({ state, foreign, runtimes, timeouts, log });
  sandboxes.prepare();
  void sandboxes.reconcile();
  teardowns.push(() => sandboxes.close());
  const manager = new TaskManager({ records, bundles, launcher, foreign, runtimes, binaries, events, timeouts, log });
  teardowns.push(() => manager.close());
  const receiver = eventReceiver(
    events,
    (envelope) => manager.observe(envelope),
    (err) => log.debug({ err: messageOf(err) }, 'event socket'),
  );
  await receiver.listen(`${address}.ttrpc`, { mode: 0o600 });
  teardowns.push(() => receiver.close());
  return { manager, launcher, sandboxes };
}

function bindingOf(service: ServiceType, bindings: readonly Binding[]): Binding {
  const found = bindings.find((binding) => binding.service === service);
  if (found === undefined || bindings.length !== servicesOfRooms.length)
    throw internal(`nothing is behind ${service.typeName}, or a service is not listed`);
  return found;
}

function makeDirectories({ address, root, state }: Config): void {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  chmodSync(root, 0o700); // also when an earlier version or a person made it wider (CVE-2024-25621)
  mkdirSync(state, { recursive: true, mode: 0o711 });
  chmodSync(state, 0o711);
  mkdirSync(path.dirname(address), { recursive: true, mode: 0o711 });
}

/** LMDB's descriptors, and whatever the process was started with, are nothing for shims and differs. */
function keepDescriptorsFromChildren(): void {
  linux.closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
}

/** Logs what a room found at start; nothing when it found nothing. */
function report(log: Log, room: string, found: object): void {
  const notable = Object.entries(found).filter(([, value]) => Array.isArray(value) && value.length > 0);
  if (notable.length > 0) log.warn(Object.fromEntries(notable), `${room} reconciled`);
}
