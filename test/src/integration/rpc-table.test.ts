/**
 * Every method of the API, by table: how it ends well, and in which ways it is refused. Each row goes to a stock containerd
 * too, which must end the call with the same status, unless the row says that it has no such method or why it differs.
 */
import t from 'tap';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  containers,
  content,
  diff,
  eventsService,
  health,
  images,
  introspection,
  leases,
  mounts,
  namespaces,
  sandbox,
  snapshots,
  streaming,
  tasks,
  transfer,
  version,
} from '@gantry/api';
import type { ServiceType } from '@gantry/api';
import { busyboxBinary, gantryd, hostState, leaks, missing, outcome, removeScratch, Rpc, run } from '../index.ts';
import { scratchDirectory, scratchNamespace, stockContainerd } from '../index.ts';
import type { DaemonProcess, Outcome } from '../index.ts';
import {
  failedPrecondition,
  internal,
  invalidArgument,
  ok,
  resourceExhausted,
  row,
  tables,
  unimplemented,
} from './rpc-table-rows.ts';
import type { Row } from './rpc-table-rows.ts';

const skip = missing('containerd', 'runc') ?? false;

t.setTimeout(180_000);
t.test('every method, by table', { skip, timeout: 170_000 }, async (t) => {
  const dir = scratchDirectory();
  const rootfs = path.join(dir, 'rootfs');
  for (const name of ['bin', 'proc', 'dev']) mkdirSync(path.join(rootfs, name), { recursive: true });
  writeFileSync(path.join(rootfs, 'bin/busybox'), busyboxBinary(), { mode: 0o755 });
  const daemons = { ours: gantryd(path.join(dir, 'g')), stock: stockContainerd(path.join(dir, 'c')) };
  await Promise.all(Object.values(daemons).map((daemon) => daemon.start()));
  const [ours, stock] = [new Peer(daemons.ours), new Peer(daemons.stock)];

  const [our, their] = [tables(rootfs, ours.namespace), tables(rootfs, stock.namespace)];
  for (const [title, rows] of Object.entries(our)) {
    await t.test(title, async (t) => {
      for (const [index, one] of rows.entries()) {
        const name = `${one.service.typeName.split('.').at(-1)}.${one.method} ${shown(one.request)}`;
        const result = await ours.send(one);
        t.equal(result.code, one.code, `${name}: ${result.message}`);
        if (one.text !== undefined) t.match(result.message, one.text, name);
        const same = their[title]?.[index];
        if (same === undefined || same.stock === 'absent') continue;
        const judged = await stock.send(same);
        t.equal(judged.code, one.stock ?? one.code, `${name} on a stock containerd: ${judged.message}`);
      }
    });
  }

  await t.test('any method without a namespace, with a bad one, with bytes that are no message', async (t) => {
    const refusals = [invalidArgument, failedPrecondition, unimplemented];
    for (const service of services) {
      for (const [key, { requestStream, responseStream, requestType }] of Object.entries(service.methods)) {
        const name = `${service.typeName}/${key}`;
        if (!requestStream && !responseStream) {
          const code = await ours.raw(service, key, Buffer.from([0xff, 0xff, 0xff]));
          t.ok([internal, unimplemented].includes(code), `${name}: bytes that are no message: ${code}`);
        }
        if (withoutNamespace.has(service)) continue;
        const request = requestType.create({}) as object;
        const one = row(service, key, requestStream ? [request] : request);
        const [none, bad] = [await ours.sendFrom(one, undefined), await ours.sendFrom(one, 'a/b')];
        t.ok(refusals.includes(none.code), `${name}: no namespace: ${none.code} ${none.message}`);
        t.ok([invalidArgument, unimplemented].includes(bad.code), `${name}: a bad one: ${bad.code} ${bad.message}`);
      }
    }
  });

  await t.test('a message above the limit, and the connection lives on', async (t) => {
    const huge = Buffer.alloc(17 * 1024 * 1024);
    for (const [service, method] of [
      [containers.ContainersService, 'create'],
      [tasks.TasksService, 'exec'],
      [snapshots.SnapshotsService, 'prepare'],
      [eventsService.EventsService, 'publish'],
    ] as const)
      t.equal(await ours.raw(service, method, huge), resourceExhausted, `${service.typeName}/${method}`);
    t.equal((await ours.send(row(version.VersionService, 'version', {}))).code, ok);
  });

  ours.close();
  stock.close();
  await Promise.all(Object.values(daemons).map((daemon) => daemon.stop()));
  t.same(leaks(hostState(), [path.join(dir, 'g'), ours.namespace]), [], 'nothing is left on the host');
  for (const name of [
    'cpu',
    'cpuacct',
    'cpuset',
    'memory',
    'devices',
    'freezer',
    'blkio',
    'pids',
    'systemd',
    'unified',
  ])
    await run('rmdir', [`/sys/fs/cgroup/${name}/${stock.namespace}`]);
  removeScratch(dir);
});

/** One of the daemons, with a namespace of its own. */
class Peer {
  readonly namespace = scratchNamespace('r');
  readonly #rpc: Rpc;

  constructor(daemon: DaemonProcess) {
    this.#rpc = new Rpc(daemon.address);
  }

  close(): void {
    this.#rpc.close();
  }

  raw(service: ServiceType, method: string, bytes: Buffer): Promise<number> {
    return this.#rpc.raw(service, method, bytes, { namespace: this.namespace });
  }

  send(one: Row): Promise<Outcome> {
    return this.#send(one, { namespace: this.namespace, ...(one.lease === undefined ? {} : { lease: one.lease }) });
  }

  /** Without the header when `namespace` is undefined. */
  sendFrom(one: Row, namespace: string | undefined): Promise<Outcome> {
    return this.#send(one, { namespace });
  }

  #send(
    { service, method, request }: Row,
    options: { namespace: string | undefined; lease?: string },
  ): Promise<Outcome> {
    const type = service.methods[method];
    if (type === undefined) throw new Error(`no method ${method}`);
    const message = (fields: object): object => type.requestType.create(fields) as object;
    if (type.requestStream) {
      const requests = (Array.isArray(request) ? request : [request]) as object[];
      return outcome(this.#rpc.converse(service, method, requests.map(message), options));
    }
    if (type.responseStream) return outcome(this.#rpc.collect(service, method, message(request), options));
    return outcome(this.#rpc.call(service, method, message(request), options));
  }
}

const services: readonly ServiceType[] = [
  containers.ContainersService,
  content.ContentService,
  diff.DiffService,
  eventsService.EventsService,
  health.HealthService,
  images.ImagesService,
  introspection.IntrospectionService,
  leases.LeasesService,
  mounts.MountsService,
  namespaces.NamespacesService,
  sandbox.ControllerService,
  sandbox.StoreService,
  snapshots.SnapshotsService,
  streaming.StreamingService,
  tasks.TasksService,
  transfer.TransferService,
  version.VersionService,
];

const withoutNamespace: ReadonlySet<ServiceType> = new Set<ServiceType>([
  eventsService.EventsService,
  health.HealthService,
  introspection.IntrospectionService,
  namespaces.NamespacesService,
  version.VersionService,
]);

function shown(request: object): string {
  const text = JSON.stringify(request, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}
