import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { events, packAny, timestampNow } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import { EventExchange } from '../events/exchange.ts';
import { defaultGcConfig } from '../gc/pace.ts';
import { pluginList } from '../plugins.ts';
import { eventsService } from './events.ts';
import { healthService } from './health.ts';
import { introspectionService, serverUuid } from './introspection.ts';
import { invoke } from './invoke-for-test.ts';
import { versionService } from './version.ts';

const payload = packAny(events.TaskOOM, { containerId: 'c1' });

t.test('a subscriber gets what is published after the call, before it reads for the first time', async (t) => {
  const service = eventsService({ exchange: new EventExchange() });
  const gone = new AbortController();
  const filters = ['topic=="/tasks/oom",event.container_id==c1'];
  const stream = (await invoke(service, 'subscribe', { filters }, { signal: gone.signal })) as AsyncIterable<unknown>;
  await invoke(service, 'publish', { topic: '/tasks/start', event: payload });
  await invoke(service, 'publish', { topic: '/tasks/oom', event: payload });
  const forwarded = { timestamp: timestampNow(), namespace: 'other', topic: '/tasks/oom', event: payload };
  await invoke(service, 'forward', { envelope: forwarded }, {});
  const received: unknown[] = [];
  for await (const envelope of stream) {
    if (received.push(envelope) === 2) gone.abort();
  }
  t.match(received, [
    { namespace: 'ns', topic: '/tasks/oom', timestamp: { nanos: Number } },
    { namespace: 'other', topic: '/tasks/oom' },
  ]);
});

t.test('malformed events and filters are refused', async (t) => {
  const service = eventsService({ exchange: new EventExchange() });
  for (const topic of ['', 'x', '/', '/a//b', '/a b']) {
    await t.rejects(invoke(service, 'publish', { topic, event: payload }), { code: 'invalid argument' }, topic);
  }
  await t.rejects(invoke(service, 'publish', { topic: '/a' }), { code: 'invalid argument' }, 'no payload');
  await t.rejects(invoke(service, 'publish', { topic: '/a', event: payload }, {}), { code: 'failed precondition' });
  await t.rejects(invoke(service, 'forward', {}), { code: 'invalid argument' });
  const untimed = { namespace: 'n', topic: '/a', event: payload };
  await t.rejects(invoke(service, 'forward', { envelope: untimed }), { code: 'invalid argument' });
  await t.rejects(invoke(service, 'subscribe', { filters: ['topic=='] }), {
    code: 'invalid argument',
    message: /^failed parsing subscription filters: filters: parse error: /,
  });
});

t.test('the server as a whole is healthy; others are unknown', async (t) => {
  const service = healthService();
  t.same(await invoke(service, 'check', {}, {}), { status: 1 });
  await t.rejects(invoke(service, 'check', { service: 'x' }, {}), { code: 'not found', message: 'unknown service' });
});

t.test('the version is what the composition root says', async (t) => {
  const service = versionService({ version: '2.0.0', revision: 'abc' });
  t.same(await invoke(service, 'version', {}, {}), { version: '2.0.0', revision: 'abc' });
});

t.test('the plugin list names snapshotters that cannot be used, and why', async (t) => {
  const snapshotters = [
    { name: 'overlayfs', exports: { root: '/r/o' } },
    { name: 'native', exports: { root: '/r/n' }, error: invalidArgument('no room') },
  ];
  const proxy = { name: 'far', type: 'diff' as const, address: '/s', farName: 'far', platform: 'linux/arm64' };
  const proxies = [{ ...proxy, capabilities: ['c'], exports: { a: 'b' } }];
  const plugins = pluginList({ root: '/r', snapshotters, proxies, gc: { ...defaultGcConfig, scheduleDelayMs: 245 } });
  const service = introspectionService({ plugins, uuid: 'u' });
  t.match(await invoke(service, 'plugins', { filters: ['type==io.containerd.snapshotter.v1, id==overlayfs'] }, {}), {
    plugins: [{ id: 'overlayfs', platforms: [{ os: 'linux' }], exports: { root: '/r/o' }, initErr: undefined }],
  });
  t.match(await invoke(service, 'pluginInfo', { type: 'io.containerd.snapshotter.v1', id: 'native' }, {}), {
    plugin: { initErr: { code: 3, message: 'no room: invalid argument: skip plugin' } },
  });
  t.match(await invoke(service, 'pluginInfo', { type: 'io.containerd.differ.v1', id: 'far' }, {}), {
    plugin: { platforms: [{ architecture: 'arm64' }], exports: { a: 'b', address: '/s' }, capabilities: ['c'] },
  });
  await t.rejects(invoke(service, 'pluginInfo', { type: 'x', id: 'y' }, {}), { code: 'not found' });
  const names = plugins.map(({ type, id }) => `${type}.${id}`);
  t.equal(new Set(names).size, names.length, 'each plugin is named once');
  t.match(plugins.find(({ id }) => id === 'scheduler')?.exports, { PauseThreshold: '0.02', ScheduleDelay: '245ms' });
});

t.test('the server has one identity for ever', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'gantry-uuid-'));
  t.teardown(() => rm(root, { recursive: true }));
  const uuid = await serverUuid(root);
  t.match(uuid, /^[0-9a-f-]{36}$/);
  t.equal(await serverUuid(root), uuid);
  const server = await invoke(introspectionService({ plugins: [], uuid }), 'server', {}, {});
  t.match(server, { uuid, pid: BigInt(process.pid) });
});
