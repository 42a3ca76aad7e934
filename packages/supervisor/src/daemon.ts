/**
 * The composition root: everything gantryd consists of, made once, in order, and taken down in reverse. Here the API comes up;
 * what stands behind it is opened by open-rooms.ts.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import path from 'node:path';
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
import { internal, messageOf, unavailable } from '@gantry/errors';
import type { Config } from './config/config.ts';
import { EventExchange } from './events/exchange.ts';
import { acquireLock } from './lock.ts';
import type { Log } from './log.ts';
import { serveApi } from './rpc/api-socket.ts';
import type { Binding } from './rpc/handlers.ts';
import { later } from './rpc/later.ts';
import { eventsService } from './services/events.ts';
import { reflectionServices } from './services/reflection.ts';
import { versionService } from './services/version.ts';
import { defaultTimeouts } from './timeouts.ts';
import { revision, version } from './version.ts';
import { withResolvers } from './with-resolvers.ts';
import { openRooms } from './open-rooms.ts';
import type { Rooms } from './open-rooms.ts';
import type { Teardown } from './teardown.ts';

export interface Supervisor {
  readonly address: string;
  /** Resolves when every task found at the start has been judged; the API is served before that. */
  readonly reconciled: Promise<void>;
  /** Takes no new calls, lets those under way end, lets go of the shims: containers run on. */
  close(): Promise<void>;
}

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
