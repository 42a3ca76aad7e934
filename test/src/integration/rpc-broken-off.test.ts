/** Calls that are broken off, that take longer than they may, and messages above the limit: every method, and what it leaves. */
import t from 'tap';
import * as api from '@gantry/api';
import type { ServiceType } from '@gantry/api';
import { connect } from '@gantry/client';
import { GantryError } from '@gantry/errors';
import { Box, descriptorsOf, imageName, missing, resourcesOf, Rpc, until } from '../index.ts';

const skip = missing('ctr', 'busybox') ?? false;
const resourceExhausted = 8;
const overLimit = Buffer.alloc(17 * 1024 * 1024);

/** What gantryd serves: what a request of the wrong size or a caller that goes away must not harm. */
const services: readonly ServiceType[] = [
  api.containers.ContainersService,
  api.content.ContentService,
  api.diff.DiffService,
  api.eventsService.EventsService,
  api.images.ImagesService,
  api.introspection.IntrospectionService,
  api.leases.LeasesService,
  api.namespaces.NamespacesService,
  api.sandbox.ControllerService,
  api.sandbox.StoreService,
  api.snapshots.SnapshotsService,
  api.tasks.TasksService,
  api.transfer.TransferService,
  api.version.VersionService,
];

const codeOf = (err: unknown): string => (err instanceof GantryError ? err.code : String(err));

t.setTimeout(120_000);
t.test('calls that do not come to their end', { skip, timeout: 115_000 }, async (t) => {
  const box = new Box();
  await box.start();
  t.teardown(() => (box.daemon.pid === 0 ? undefined : box.daemon.kill())); // when something has failed
  const { namespace } = box;
  using client = connect({ address: box.daemon.address, namespace, timeoutMs: 60_000 });
  const { transport } = client;
  await client.createContainer({ id: 'one', image: imageName, args: ['sleep', '100000'] });
  const task = await client.createTask('one', { stdio: { kind: 'null' } });
  await task.start();
  const baseline = resourcesOf(box.daemon.pid);
  const methods = services.flatMap((service) =>
    Object.entries(service.methods).map(([key, method]) => ({ service, key, method })),
  );

  await t.test('every method refuses a message above the limit, and the connection lives on', async (t) => {
    const rpc = new Rpc(box.daemon.address);
    for (const { service, key } of methods.filter(({ method }) => !method.requestStream)) {
      const code = await rpc.raw(service, key, overLimit, { namespace });
      t.equal(code, resourceExhausted, `${service.typeName}/${key}`);
    }
    rpc.close();
  });

  await t.test('every method bears a caller that goes away', async (t) => {
    for (const { service, key, method } of methods) {
      const giveUp = new AbortController();
      const options = { signal: giveUp.signal, timeoutMs: 30_000 };
      const ended = (async (): Promise<string> => {
        try {
          if (method.requestStream) {
            using stream = transport.bidi(service, method, options);
            for await (const _ of stream) continue;
          } else if (method.responseStream) {
            for await (const _ of transport.serverStream(service, method, {}, options)) continue;
          } else await transport.unary(service, method, {}, options);
          return 'done';
        } catch (err) {
          return codeOf(err);
        }
      })();
      setImmediate(() => giveUp.abort());
      t.not(await ended, 'deadline exceeded', `${service.typeName}/${key}: ${await ended}`);
    }
    t.match(await client.version(), { version: /./ });
  });

  await t.test('what waits ends with its caller or its deadline, and can be asked again', async (t) => {
    const giveUp = (): { readonly signal: AbortSignal } => ({ signal: AbortSignal.timeout(300) });
    await t.rejects(client.tasks.wait('one', '', giveUp()), { code: 'cancelled' });
    await t.rejects(client.tasks.wait('one', '', { timeoutMs: 300 }), { code: 'deadline exceeded' });
    const { EventsService } = api.eventsService;
    const quiet = async (options: object): Promise<void> => {
      const filters = ['topic=="/never/comes"'];
      const stream = transport.serverStream(EventsService, EventsService.methods.subscribe, { filters }, options);
      for await (const event of stream) t.fail(`an event: ${event.topic}`);
    };
    await t.rejects(quiet(giveUp()), { code: 'cancelled' });
    await t.rejects(quiet({ timeoutMs: 300 }), { code: 'deadline exceeded' });
    const ended = client.tasks.wait('one');
    await client.tasks.kill('one', 9);
    t.equal((await ended).exitStatus, 137);
  });

  await t.test('a write that is broken off lets go of its ref and keeps what came', async (t) => {
    const { ContentService, WriteAction } = api.content;
    const open = () => transport.bidi(ContentService, ContentService.methods.write);
    const write = { action: WriteAction.WRITE, ref: 'broken', offset: 0n, total: 10n, expected: '', labels: {} };
    {
      using stream = open();
      await stream.send(api.content.WriteContentRequest.create({ ...write, data: Buffer.from('hello') }));
      t.match(await stream.receive(), { offset: 5n });
      using second = open();
      await second.send(api.content.WriteContentRequest.create({ ...write, action: WriteAction.STAT }));
      await t.rejects(second.receive(), { code: 'unavailable' }, 'somebody else has it');
    }
    const resumed = await until('the ref to be free', async () => {
      using stream = open();
      await stream.send(api.content.WriteContentRequest.create({ ...write, action: WriteAction.STAT }));
      return await stream.receive().catch(() => undefined);
    });
    t.match(resumed, { offset: 5n, total: 10n });
    await transport.unary(ContentService, ContentService.methods.abort, { ref: 'broken' });
  });

  await t.test('nothing of them is kept', async (t) => {
    const isBack = (): boolean => {
      const { fds, threads } = resourcesOf(box.daemon.pid);
      return fds <= baseline.fds && threads <= baseline.threads;
    };
    const back = await until('descriptors and threads to be back', isBack, 30_000).catch(() => false);
    t.same(back ? [] : [baseline, resourcesOf(box.daemon.pid), ...descriptorsOf(box.daemon.pid)], []);
  });
  await client.removeContainer('one');
  await box.end(t);
});
