/** The rows of rpc-table.test.ts: calls of every service, and the status each ends with. */
import { createHash } from 'node:crypto';
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
  packAny,
  events as eventTypes,
  sandbox,
  snapshots,
  streaming,
  tasks,
  transfer,
  typeUrls,
  types,
  version,
} from '@gantry/api';
import type { ServiceType } from '@gantry/api';

/** gRPC's status numbers. */
export const ok = 0;
const unknown = 2;
export const invalidArgument = 3;
const notFound = 5;
const alreadyExists = 6;
export const resourceExhausted = 8;
export const failedPrecondition = 9;
const outOfRange = 11;
export const unimplemented = 12;
export const internal = 13;

const blob = Buffer.from('a blob of a few bytes');
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const digest = digestOf(blob);
const absentDigest = `sha256:${'0'.repeat(64)}`;
const snapshotter = 'overlayfs';

/** A row: what is called, with what, how it ends. */
export interface Row {
  readonly service: ServiceType;
  readonly method: string;
  readonly request: object | readonly object[];
  readonly code: number;
  /** In the error's text. */
  readonly text?: RegExp;
  /** `absent`: stock containerd 1.6 has no such method; a number: the status it ends with, which we do not copy. */
  readonly stock?: 'absent' | number;
  readonly lease?: string;
}

type Rest = Omit<Row, 'service' | 'method' | 'request' | 'code'>;

/** A row that ends well unless it says how else. */
export function row(service: ServiceType, method: string, request: Row['request'], code = ok, rest: Rest = {}): Row {
  return { service, method, request, code, ...rest };
}

/** Service → rows, in an order in which each finds what those before it have made. */
export function tables(rootfs: string, namespace: string): Readonly<Record<string, readonly Row[]>> {
  const tooLong = { key: 'v'.repeat(5000) };
  return {
    version: [row(version.VersionService, 'version', {})],
    health: [
      row(health.HealthService, 'check', {}),
      row(health.HealthService, 'check', { service: 'nobody' }, notFound),
      row(health.HealthService, 'list', {}, ok, { stock: 'absent' }),
    ],
    introspection: [
      row(introspection.IntrospectionService, 'plugins', {}),
      row(introspection.IntrospectionService, 'plugins', { filters: ['type==a,,'] }, invalidArgument),
      row(introspection.IntrospectionService, 'server', {}),
      row(introspection.IntrospectionService, 'pluginInfo', { type: 'x', id: 'y' }, notFound, { stock: 'absent' }),
      row(
        introspection.IntrospectionService,
        'pluginInfo',
        { type: 'io.containerd.runtime.v2', id: 'task', options: packAny(types.RuntimeRequest, {}) },
        ok,
        { stock: 'absent' },
      ),
      row(
        introspection.IntrospectionService,
        'pluginInfo',
        {
          type: 'io.containerd.runtime.v2',
          id: 'task',
          options: packAny(types.RuntimeRequest, { runtimePath: 'io.containerd.none.v1' }),
        },
        unknown,
        { stock: 'absent', text: /not installed/ },
      ),
    ],
    namespaces: namespaceRows(tooLong),
    containers: containerRows(tooLong, rootfs, namespace),
    content: contentRows(),
    images: imageRows(),
    snapshots: snapshotRows(),
    leases: leaseRows(),
    events: eventRows(),
    'diff, transfer, streaming, mounts': otherRows(),
    sandboxes: sandboxRows(tooLong),
    tasks: taskRows(),
  };
}

function namespaceRows(tooLong: object): Row[] {
  const { NamespacesService: s } = namespaces;
  return [
    row(s, 'create', { namespace: { name: 'n1', labels: { a: 'b' } } }),
    row(s, 'create', { namespace: { name: 'n1' } }, alreadyExists),
    row(s, 'create', { namespace: { name: '' } }, invalidArgument),
    row(s, 'create', { namespace: { name: 'a..b' } }, invalidArgument),
    row(s, 'create', { namespace: { name: 'n2', labels: tooLong } }, invalidArgument),
    row(s, 'get', { name: 'n1' }),
    row(s, 'get', { name: 'never-made' }),
    row(s, 'list', {}),
    row(s, 'update', { namespace: { name: 'n1', labels: { c: 'd' } }, updateMask: { paths: ['labels.c'] } }),
    row(s, 'update', { namespace: { name: 'n1' }, updateMask: { paths: ['name'] } }, invalidArgument),
    row(s, 'delete', { name: 'n1' }),
    row(s, 'delete', { name: 'n1' }, notFound),
  ];
}

function containerRows(tooLong: object, rootfs: string, namespace: string): Row[] {
  const { ContainersService: s } = containers;
  const spec = {
    ociVersion: '1.0.2',
    root: { path: rootfs },
    process: { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/', user: { uid: 0, gid: 0 } },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { cgroupsPath: `/${namespace}/one`, namespaces: [{ type: 'mount' }, { type: 'pid' }] },
  };
  const one = {
    id: 'one',
    runtime: { name: 'io.containerd.runc.v2' },
    spec: { typeUrl: typeUrls.spec, value: Buffer.from(JSON.stringify(spec)) },
  };
  const { runtime: _runtime, ...unrunnable } = one;
  return [
    row(s, 'create', { container: one }),
    row(s, 'create', { container: one }, alreadyExists),
    row(s, 'create', { container: { ...one, id: 'idle', labels: { role: 'idle' } } }),
    row(s, 'create', { container: { ...one, id: 'a/b' } }, invalidArgument),
    row(s, 'create', { container: { ...unrunnable, id: 'x' } }, invalidArgument, { text: /Runtime\.Name/ }),
    row(s, 'create', { container: { ...one, id: 'x', spec: undefined } }, invalidArgument, { text: /Spec/ }),
    row(s, 'create', { container: { ...one, id: 'x', labels: tooLong } }, invalidArgument),
    row(s, 'create', { container: { ...one, id: 'x', snapshotKey: 'k' } }, invalidArgument, { text: /Snapshotter/ }),
    row(s, 'get', { id: 'one' }),
    row(s, 'get', { id: 'absent' }, notFound),
    row(s, 'list', {}),
    row(s, 'list', { filters: ['labels.role==idle', 'id~=|^o|'] }),
    row(s, 'list', { filters: ['id='] }, invalidArgument, { text: /parse error/ }),
    row(s, 'listStream', {}),
    row(s, 'listStream', { filters: ['id='] }, invalidArgument),
    row(s, 'update', { container: { ...one, image: 'i' }, updateMask: { paths: ['image'] } }),
    row(s, 'update', { container: one, updateMask: { paths: ['created_at'] } }, invalidArgument),
    row(s, 'update', { container: { ...one, runtime: { name: 'other' } } }, invalidArgument, { text: /immutable/ }),
    row(s, 'update', { container: { ...one, id: 'absent' } }, notFound),
    row(s, 'update', { container: { ...one, id: '' } }, invalidArgument),
    row(s, 'delete', { id: 'absent' }, notFound),
    row(s, 'delete', { id: 'idle' }),
    row(s, 'delete', { id: 'idle' }, notFound),
  ];
}

function contentRows(): Row[] {
  const { ContentService: s, WriteAction } = content;
  const write = { action: WriteAction.WRITE, ref: 'r', data: blob };
  const size = BigInt(blob.length);
  const commit = { action: WriteAction.COMMIT, ref: 'r', offset: size, total: size };
  return [
    row(s, 'write', [{ action: WriteAction.STAT }], invalidArgument),
    row(s, 'write', [write, { action: WriteAction.WRITE, offset: 5n, data: blob }], outOfRange),
    row(s, 'status', { ref: 'r' }),
    row(s, 'listStatuses', {}),
    row(s, 'listStatuses', { filters: ['ref==r'] }),
    row(s, 'listStatuses', { filters: ['ref='] }, invalidArgument),
    row(s, 'write', [{ ...commit, expected: absentDigest }], failedPrecondition),
    row(s, 'write', [write, { ...commit, total: 1n }], failedPrecondition),
    // An offset of 0 begins anew, also where there is no data.
    row(s, 'write', [write, { action: WriteAction.COMMIT, offset: 0n, expected: digest }], failedPrecondition),
    row(s, 'write', [write, { action: WriteAction.WRITE, offset: 3n }], outOfRange),
    row(s, 'abort', { ref: 'r' }),
    row(s, 'abort', { ref: 'r' }, notFound),
    row(s, 'status', { ref: 'r' }, notFound),
    row(s, 'write', [write, { ...commit, expected: digest, labels: { 'containerd.io/gc.root': 'yes' } }]),
    row(s, 'write', [{ ...write, expected: digest }], alreadyExists),
    row(s, 'info', { digest }),
    row(s, 'info', { digest: absentDigest }, notFound),
    row(s, 'info', { digest: 'sha256:x' }, invalidArgument),
    row(s, 'update', { info: { digest, labels: { c: 'd' } }, updateMask: { paths: ['labels.c'] } }),
    row(s, 'update', { info: { digest }, updateMask: { paths: ['size'] } }, invalidArgument),
    row(s, 'update', { info: { digest: absentDigest } }, notFound),
    row(s, 'list', {}),
    row(s, 'list', { filters: ['labels.c==d'] }),
    row(s, 'list', { filters: ['digest='] }, invalidArgument),
    row(s, 'read', { digest }),
    row(s, 'read', { digest, offset: 3n, size: 4n }),
    row(s, 'read', { digest, offset: 1000n }, outOfRange),
    row(s, 'read', { digest: absentDigest }, notFound),
    row(s, 'read', { digest: 'x' }, invalidArgument),
    row(s, 'delete', { digest: absentDigest }, notFound),
    row(s, 'delete', { digest: 'x' }, invalidArgument),
  ];
}

function imageRows(): Row[] {
  const { ImagesService: s } = images;
  const target = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: BigInt(blob.length) };
  const image = { name: 'a.example/image:1', target };
  return [
    row(s, 'create', { image }),
    row(s, 'create', { image }, alreadyExists),
    row(s, 'create', { image: { ...image, name: '' } }, invalidArgument),
    row(s, 'create', { image: { name: 'b' } }, invalidArgument),
    row(s, 'create', { image: { name: 'b', target: { ...target, digest: 'x' } } }, invalidArgument),
    row(s, 'create', { image: { name: 'b', target: { ...target, size: 0n } } }, invalidArgument),
    row(s, 'get', { name: image.name }),
    row(s, 'get', { name: 'absent' }, notFound),
    row(s, 'list', {}),
    row(s, 'list', { filters: ['name='] }, invalidArgument),
    row(s, 'update', { image: { ...image, labels: { a: 'b' } }, updateMask: { paths: ['labels'] } }),
    row(s, 'update', { image: { ...image, name: 'absent' } }, notFound),
    row(s, 'update', { image: { ...image, name: '' } }, invalidArgument),
    row(s, 'update', { image, updateMask: { paths: ['name'] } }, invalidArgument),
    row(s, 'delete', { name: 'absent' }, notFound),
    row(s, 'delete', { name: image.name, target: { ...target, digest: absentDigest } }, notFound, { stock: 'absent' }),
  ];
}

function snapshotRows(): Row[] {
  const { SnapshotsService: s } = snapshots;
  const of = (rest: object): object => ({ snapshotter, ...rest });
  const kept = { 'containerd.io/gc.root': 'yes' };
  return [
    row(s, 'prepare', of({ key: 'active', labels: kept })),
    row(s, 'prepare', of({ key: 'active' }), alreadyExists),
    row(s, 'prepare', of({ key: 'x', parent: 'absent' }), notFound),
    row(s, 'prepare', of({ key: 'x', parent: 'active' }), invalidArgument),
    row(s, 'prepare', { snapshotter: 'nobody', key: 'x' }, invalidArgument),
    row(s, 'prepare', { key: 'x' }, invalidArgument),
    row(s, 'prepare', of({ key: 'x' }), notFound, { lease: 'nobody' }),
    row(s, 'mounts', of({ key: 'active' })),
    row(s, 'mounts', of({ key: 'absent' }), notFound),
    row(s, 'commit', of({ name: 'done', key: 'absent' }), notFound),
    row(s, 'commit', of({ name: 'done', key: 'active', labels: kept })),
    row(s, 'mounts', of({ key: 'done' }), failedPrecondition),
    row(s, 'view', of({ key: 'view', parent: 'done', labels: kept })),
    row(s, 'view', of({ key: 'view', parent: 'done' }), alreadyExists),
    row(s, 'commit', of({ name: 'y', key: 'view' }), failedPrecondition),
    row(s, 'stat', of({ key: 'done' })),
    row(s, 'stat', of({ key: 'absent' }), notFound),
    row(s, 'update', of({ info: { name: 'done', labels: { a: 'b' } }, updateMask: { paths: ['labels.a'] } })),
    row(s, 'update', of({ info: { name: 'done' }, updateMask: { paths: ['kind'] } }), invalidArgument),
    row(s, 'update', of({ info: { name: 'absent' } }), notFound),
    row(s, 'list', of({})),
    row(s, 'list', of({ filters: ['kind='] }), invalidArgument, { stock: unknown }),
    row(s, 'usage', of({ key: 'done' })),
    row(s, 'usage', of({ key: 'absent' }), notFound),
    row(s, 'cleanup', of({}), ok, { stock: unimplemented }),
    row(s, 'cleanup', { snapshotter: 'nobody' }, invalidArgument),
    row(s, 'remove', of({ key: 'done' }), failedPrecondition, { text: /child/ }),
    row(s, 'remove', of({ key: 'view' })),
    row(s, 'remove', of({ key: 'done' })),
    row(s, 'remove', of({ key: 'done' }), notFound),
  ];
}

function leaseRows(): Row[] {
  const { LeasesService: s } = leases;
  const held = { type: 'content', id: digest };
  return [
    row(s, 'create', { id: 'l' }),
    row(s, 'create', { id: 'l' }, alreadyExists),
    row(s, 'create', {}),
    row(s, 'list', {}),
    row(s, 'list', { filters: ['id='] }, invalidArgument),
    row(s, 'addResource', { id: 'l', resource: held }),
    row(s, 'addResource', { id: 'l', resource: { type: 'snapshots/overlayfs', id: 'any' } }),
    row(s, 'addResource', { id: 'l', resource: { type: 'nothing', id: 'x' } }, unimplemented),
    row(s, 'addResource', { id: 'l', resource: { type: 'content', id: 'x' } }, invalidArgument),
    row(s, 'addResource', { id: 'absent', resource: held }, notFound),
    row(s, 'listResources', { id: 'l' }),
    row(s, 'listResources', { id: 'absent' }, notFound),
    row(s, 'deleteResource', { id: 'l', resource: held }),
    row(s, 'deleteResource', { id: 'l', resource: held }),
    row(s, 'deleteResource', { id: 'absent', resource: held }, notFound),
    row(s, 'delete', { id: 'l', sync: true }),
    row(s, 'delete', { id: 'l' }, notFound),
  ];
}

function eventRows(): Row[] {
  const { EventsService: s } = eventsService;
  const event = packAny(eventTypes.TaskOOM, { containerId: 'x' });
  const timestamp = { seconds: 1_700_000_000n, nanos: 0 };
  return [
    row(s, 'publish', { topic: '/a/b', event }),
    row(s, 'publish', { topic: 'a', event }, invalidArgument),
    row(s, 'publish', { topic: '/', event }, invalidArgument),
    row(s, 'publish', { topic: '/a//b', event }, invalidArgument),
    row(s, 'forward', { envelope: { timestamp, namespace: 'n', topic: '/a', event } }),
    row(s, 'forward', { envelope: { timestamp, namespace: '', topic: '/a', event } }, invalidArgument),
    row(s, 'forward', { envelope: { timestamp, namespace: 'n', topic: 'a', event } }, invalidArgument),
    row(s, 'subscribe', { filters: ['topic='] }, invalidArgument, { stock: unknown }),
  ];
}

function otherRows(): Row[] {
  const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: absentDigest, size: 1n };
  const mount = { type: 'bind', source: '/nowhere', options: ['rbind'] };
  const pair = (source: string, destination: string) => ({
    source: { typeUrl: source, value: Buffer.alloc(0) },
    destination: { typeUrl: destination, value: Buffer.alloc(0) },
  });
  return [
    row(diff.DiffService, 'apply', { diff: descriptor, mounts: [mount] }, notFound),
    row(diff.DiffService, 'diff', { left: [], right: [], mediaType: 'application/none' }, unimplemented),
    row(transfer.TransferService, 'transfer', pair('a.B', 'c.D'), unimplemented, { stock: 'absent' }),
    row(streaming.StreamingService, 'stream', [{ typeUrl: 'x', value: Buffer.alloc(0) }], invalidArgument, {
      stock: 'absent',
    }),
    row(mounts.MountsService, 'activate', { name: 'm', mounts: [mount] }, unimplemented, { stock: 'absent' }),
  ];
}

function sandboxRows(tooLong: object): Row[] {
  const { ControllerService: c, StoreService: s } = sandbox;
  const one = { sandboxId: 'pod', runtime: { name: 'io.containerd.runc.v2' }, labels: { a: 'b' } };
  const rows: Row[] = [
    row(s, 'create', { sandbox: one }),
    row(s, 'create', { sandbox: one }, alreadyExists),
    row(s, 'create', { sandbox: { ...one, sandboxId: 'a/b' } }, invalidArgument),
    row(s, 'create', { sandbox: { ...one, sandboxId: 'x', labels: tooLong } }, invalidArgument),
    row(s, 'create', {}, invalidArgument),
    row(s, 'get', { sandboxId: 'pod' }),
    row(s, 'get', { sandboxId: 'absent' }, notFound),
    row(s, 'list', { filters: ['labels.a==b'] }),
    row(s, 'list', { filters: ['id='] }, invalidArgument),
    row(s, 'update', { sandbox: { ...one, labels: { c: 'd' } }, fields: ['labels.c'] }),
    row(s, 'update', { sandbox: one, fields: ['sandbox_id'] }, invalidArgument),
    row(s, 'update', { sandbox: { ...one, runtime: { name: 'other' } }, fields: ['runtime'] }, invalidArgument),
    row(s, 'update', { sandbox: { ...one, sandboxId: 'absent' } }, notFound),
    row(s, 'update', { sandbox: { sandboxId: '' } }, invalidArgument),
    row(s, 'delete', { sandboxId: 'pod' }),
    row(s, 'delete', { sandboxId: 'pod' }, notFound),
    // What it does with sandboxes that are there: sandboxes.test.ts.
    ...['create', 'start', 'platform', 'stop', 'wait', 'status', 'shutdown', 'metrics', 'update'].flatMap((method) => [
      row(c, method, { sandboxId: 'absent' }, invalidArgument),
      row(c, method, { sandboxId: 'absent', sandboxer: 'nobody' }, notFound),
      row(
        c,
        method,
        { sandboxId: 'absent', sandboxer: 'shim', ...(method === 'update' ? { sandbox: one } : {}) },
        method === 'stop' || method === 'status' ? ok : notFound,
      ),
    ]),
    row(c, 'create', { sandboxId: 'a/b', sandboxer: 'shim', sandbox: { ...one, sandboxId: 'a/b' } }, invalidArgument),
    row(c, 'update', { sandboxId: 'absent', sandboxer: 'shim' }, invalidArgument),
  ];
  return rows.map((each) => ({ ...each, stock: 'absent' }));
}

function taskRows(): Row[] {
  const { TasksService: s } = tasks;
  const it = { containerId: 'one' };
  const absent = { containerId: 'absent' };
  const process = { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/', user: { uid: 0, gid: 0 } };
  const spec = { typeUrl: typeUrls.process, value: Buffer.from(JSON.stringify(process)) };
  const resources = { typeUrl: typeUrls.linuxResources, value: Buffer.from('{"cpu":{"shares":512}}') };
  const withoutContainer = [
    'create',
    'start',
    'delete',
    'get',
    'pause',
    'resume',
    'listPids',
    'wait',
    'update',
    'kill',
  ];
  const withoutTask = ['start', 'delete', 'get', 'pause', 'resume', 'listPids', 'wait', 'kill', 'closeIO', 'resizePty'];
  return [
    ...withoutContainer.map((method) => row(s, method, absent, notFound)),
    ...withoutTask.map((method) => row(s, method, it, notFound)),
    row(s, 'create', { ...it, runtimePath: 'io.containerd.none.v1' }, unknown, { text: /not installed/ }),
    row(s, 'create', it),
    row(s, 'create', it, alreadyExists),
    row(s, 'get', it),
    row(s, 'list', {}),
    row(s, 'pause', it, unknown, { text: /cannot pause/ }),
    row(s, 'resume', it, unknown),
    row(s, 'start', { ...it, execId: 'absent' }, notFound),
    row(s, 'checkpoint', it, unknown, { text: /cannot checkpoint a task in created state/ }),
    row(s, 'start', it),
    row(s, 'start', it, unknown, { text: /cannot start a running process/ }),
    row(s, 'delete', it, unknown, { text: /cannot delete a running process/ }),
    row(s, 'exec', { ...it, execId: '', spec }, invalidArgument),
    row(s, 'exec', { ...it, execId: 'e', spec }),
    row(s, 'exec', { ...it, execId: 'e', spec }, alreadyExists),
    row(s, 'get', { ...it, execId: 'e' }),
    row(s, 'kill', { ...it, execId: 'e', signal: 9 }, failedPrecondition),
    row(s, 'start', { ...it, execId: 'e' }),
    row(s, 'deleteProcess', { ...it, execId: 'e' }, unknown),
    row(s, 'resizePty', { ...it, width: 80, height: 24 }),
    row(s, 'closeIO', { ...it, stdin: true }),
    row(s, 'closeIO', { ...it, execId: 'absent', stdin: true }, notFound),
    row(s, 'kill', { ...it, execId: 'e', signal: 9 }),
    row(s, 'wait', { ...it, execId: 'e' }),
    row(s, 'kill', { ...it, execId: 'e', signal: 9 }, notFound, { text: /process already finished/ }),
    row(s, 'deleteProcess', { ...it, execId: 'e' }),
    row(s, 'deleteProcess', { ...it, execId: 'e' }, notFound),
    row(s, 'listPids', it),
    row(s, 'update', { ...it, resources }),
    row(s, 'metrics', {}),
    row(s, 'metrics', { filters: ['id==one'] }),
    row(s, 'metrics', { filters: ['id='] }, invalidArgument, { stock: unknown }),
    row(s, 'pause', it),
    row(s, 'pause', it, unknown),
    row(s, 'exec', { ...it, execId: 'f', spec }, unknown, { text: /paused/ }),
    row(s, 'resume', it),
    row(s, 'checkpoint', { ...it, options: { typeUrl: typeUrls.process, value: Buffer.of() } }, invalidArgument, {
      stock: unknown,
    }),
    row(s, 'kill', { ...it, signal: 9 }),
    row(s, 'wait', it),
    row(s, 'kill', { ...it, signal: 9 }, notFound, { text: /process already finished/ }),
    row(s, 'pause', it, unknown),
    row(s, 'delete', it),
    row(s, 'delete', it, notFound),
    row(s, 'get', it, notFound),
    row(containers.ContainersService, 'delete', { id: 'one' }),
  ];
}
