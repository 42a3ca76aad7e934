/**
 * The composition root: everything gantryd consists of, made once, in order, and taken down in reverse. A reader sees
 * here what runs.
 */
import { closeSync, openSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { ContentStore } from '@gantry/content';
import { Differ } from '@gantry/diff';
import { alreadyExists, codeOf, failedPrecondition, messageOf, wrap } from '@gantry/errors';
import { CLOSE_RANGE_CLOEXEC, linux } from '@gantry/libc';
import { NativeSnapshotter, OverlayfsSnapshotter, overlayfsUnusable, SnapshotStore } from '@gantry/snapshots';
import type { Snapshotter } from '@gantry/snapshots';
import { openStore } from '@gantry/store';
import { TtrpcClient } from '@gantry/ttrpc';
import type { Config } from './config/config.ts';
import { EventExchange } from './events/exchange.ts';
import { eventReceiver } from './events/receiver.ts';
import { defaultGcConfig, GarbageCollector } from './gc/collector.ts';
import { acquireLock } from './lock.ts';
import type { Log } from './log.ts';
import { pluginList } from './plugins.ts';
import type { SnapshotterPlugin } from './plugins.ts';
import { close, grpcServer, listen } from './rpc/grpc-server.ts';
import type { CallObserver } from './rpc/grpc-server.ts';
import type { Binding } from './rpc/handlers.ts';
import { containersService } from './services/containers.ts';
import { contentService } from './services/content.ts';
import { diffService } from './services/diff.ts';
import { eventsService } from './services/events.ts';
import { healthService } from './services/health.ts';
import { ImageRecords } from './images/image-records.ts';
import { imagesService } from './services/images.ts';
import { introspectionService, serverUuid } from './services/introspection.ts';
import { leasesService } from './services/leases.ts';
import { namespacesService } from './services/namespaces.ts';
import { snapshotsService } from './services/snapshots.ts';
import { streamingService } from './services/streaming.ts';
import { tasksService } from './services/tasks.ts';
import { transferService } from './services/transfer.ts';
import { versionService } from './services/version.ts';
import { sealedNode } from './shims/sealed-node.ts';
import { ForkOrSpawnNursery } from './shims/nursery-with-fallback.ts';
import { SpareLauncher } from './shims/spare-launcher.ts';
import { Streams } from './streams/streams.ts';
import { Bundles } from './tasks/bundle.ts';
import { TaskManager } from './tasks/manager.ts';
import { TaskRecords } from './tasks/record.ts';
import { findTasks, reconcileTasks } from './tasks/reconcile.ts';
import { defaultTimeouts } from './timeouts.ts';
import { version } from './version.ts';

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

async function assemble(
  config: Config,
  log: Log,
  teardowns: Teardown[],
  takeDown: () => Promise<void>,
): Promise<Supervisor> {
  const { address, root, state } = config;
  const timeouts = defaultTimeouts;
  await makeDirectories(config);
  teardowns.push(await acquireLock(root));

  const store = await openStore(path.join(root, 'meta'));
  teardowns.push(() => store.close());
  keepDescriptorsFromChildren();
  const content = new ContentStore({ root: path.join(root, 'content'), store });
  report(log, 'content', await content.reconcile());
  const { snapshotters, known } = await loadSnapshotters(path.join(root, 'snapshots'));
  const snapshots = new SnapshotStore({ store, snapshotters });
  report(log, 'snapshots', await snapshots.reconcile());
  const differ = new Differ();
  teardowns.push(() => differ.close());

  const events = new EventExchange();
  const gc = new GarbageCollector({ store, content, snapshots, events, log });
  teardowns.push(() => gc.close());
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
    spares: config.spareShims,
    socketDir: bundles.spareDir,
    eventsPath: `${address}.ttrpc`,
    node: node.path,
    timeouts,
    log,
  });
  teardowns.push(() => launcher.close());
  const records = new TaskRecords(state);
  records.prepare();
  const tasks = new TaskManager({ records, bundles, launcher, events, timeouts, log });
  teardowns.push(() => tasks.close());

  const images = new ImageRecords({ store, events, gc });
  const streams = new Streams();
  const plugins = pluginList({ root, snapshotters: known, gc: defaultGcConfig });
  const bindings: readonly Binding[] = [
    versionService({ version, revision: '' }),
    introspectionService({ plugins, uuid: await serverUuid(root) }),
    healthService(),
    eventsService({ exchange: events }),
    namespacesService({ store, events }),
    leasesService({ store, gc }),
    contentService({ content, events, gc }),
    imagesService({ records: images }),
    snapshotsService({ snapshots, events, gc }),
    diffService({ content, differ }),
    containersService({ store, events, gc }),
    tasksService({ store, tasks, timeouts }),
    streamingService({ streams }),
    transferService({
      store,
      content,
      snapshots,
      differ,
      events,
      gc,
      images,
      streams,
      hostDirectories: config.registryDirectories,
      defaultSnapshotter: snapshotters[0]?.name ?? 'native',
      onLoaded: (end) => teardowns.push(end),
    }),
  ];

  const findings = await findTasks(tasks);
  const receiver = eventReceiver(
    events,
    (envelope) => tasks.observe(envelope),
    (err) => log.debug({ err: messageOf(err) }, 'event socket'),
  );
  await receiver.listen(`${address}.ttrpc`, { mode: 0o600 });
  teardowns.push(() => receiver.close());
  const server = grpcServer(bindings, observer(log));
  await removeStaleSocket(address);
  await listenPrivately(() => listen(server, address));
  teardowns.push(() => close(server, timeouts.drainMs));
  if (config.socketGid !== undefined) {
    await chown(address, 0, config.socketGid);
    await chmod(address, 0o660);
  }
  log.info({ address, root, state }, 'gantryd serves');

  const reconciled = reconcileTasks(tasks, findings).then(
    () => log.info({ tasks: tasks.all().length }, 'tasks are reconciled'),
    (err: unknown) => log.error({ err: messageOf(err) }, 'reconciling tasks'),
  );
  launcher.start();
  gc.schedule();
  return { address, reconciled, close: takeDown };
}

async function makeDirectories({ address, root, state }: Config): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  await chmod(root, 0o700); // also when an earlier version or a person made it wider (CVE-2024-25621)
  await mkdir(state, { recursive: true, mode: 0o711 });
  await chmod(state, 0o711);
  await mkdir(path.dirname(address), { recursive: true, mode: 0o711 });
}

/** LMDB's descriptors, and whatever the process was started with, are nothing for shims and differs. */
function keepDescriptorsFromChildren(): void {
  linux.closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
}

/** overlayfs where the kernel and the file system can, native always; and what is to be said of each. */
async function loadSnapshotters(
  root: string,
): Promise<{ snapshotters: readonly Snapshotter[]; known: readonly SnapshotterPlugin[] }> {
  const overlayRoot = path.join(root, 'overlayfs');
  const nativeRoot = path.join(root, 'native');
  for (const dir of [overlayRoot, nativeRoot]) await mkdir(dir, { recursive: true, mode: 0o700 });
  const reason = await overlayfsUnusable(overlayRoot);
  const overlay = new OverlayfsSnapshotter({ root: overlayRoot });
  const native = new NativeSnapshotter({ root: nativeRoot });
  const error = reason === undefined ? undefined : failedPrecondition(`overlayfs: ${reason}: skip plugin`);
  return {
    snapshotters: reason === undefined ? [overlay, native] : [native],
    known: [
      { name: overlay.name, root: overlayRoot, error },
      { name: native.name, root: nativeRoot },
    ],
  };
}

/** Logs what a room found at start; nothing when it found nothing. */
function report(log: Log, room: string, found: object): void {
  const notable = Object.entries(found).filter(([, value]) => Array.isArray(value) && value.length > 0);
  if (notable.length > 0) log.warn(Object.fromEntries(notable), `${room} reconciled`);
}

/** A line a call at debug level, and one for every failure that is ours to explain. */
function observer(log: Log): CallObserver {
  return (rpc, durationMs, err) => {
    const fields = { rpc, dur_ms: Math.round(durationMs * 10) / 10 };
    if (err === undefined) log.debug(fields, 'call');
    else if (codeOf(err) === 'unknown' || codeOf(err) === 'internal' || codeOf(err) === 'data loss')
      log.error({ ...fields, err: err instanceof Error ? (err.stack ?? err.message) : String(err) }, 'call failed');
    else log.debug({ ...fields, code: codeOf(err), err: messageOf(err) }, 'call refused');
  };
}

/** A socket file of a supervisor that died goes; one that somebody listens on, and any other file, is refused. */
async function removeStaleSocket(address: string): Promise<void> {
  const found = await lstat(address).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw alreadyExists(`${address} is there and no socket`);
  try {
    const client = await TtrpcClient.connect(address, { timeoutMs: 1000 });
    client.close();
  } catch (err) {
    if (codeOf(err) !== 'unavailable') throw wrap(err, `somebody listens on ${address}`);
    await unlink(address).catch(() => undefined);
    return;
  }
  throw alreadyExists(`somebody listens on ${address}`);
}

/** Makes the socket with mode 0600 from its first moment. */
async function listenPrivately(start: () => Promise<void>): Promise<void> {
  const before = process.umask(0o177);
  try {
    await start();
  } finally {
    process.umask(before);
  }
}
