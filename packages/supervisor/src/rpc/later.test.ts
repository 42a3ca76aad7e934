import t from 'tap';
import { content, version } from '@gantry/api';
import { unavailable } from '@gantry/errors';
import { withResolvers } from '../with-resolvers.ts';
import { callOf } from './call.ts';
import { bind } from './handlers.ts';
import type { Binding } from './handlers.ts';
import { later } from './later.ts';

const call = callOf(
  () => undefined,
  () => new AbortController().signal,
  undefined,
);

t.test('a call waits for its service, and one that comes when it is there does not', async (t) => {
  const { promise, resolve } = withResolvers<Binding>();
  const { handlers } = later(version.VersionService, promise);
  const early = handlers['version']?.({}, call);
  resolve(bind(version.VersionService, { version: () => ({ version: '1' }) }));
  t.same(await early, { version: '1' });
  t.same(handlers['version']?.({}, call), { version: '1' }, 'no promise in between');
});

t.test('a stream that is asked for early brings its answers in order', async (t) => {
  const { promise, resolve } = withResolvers<Binding>();
  const { handlers } = later(content.ContentService, promise);
  const early = handlers['list']?.({}, call) as AsyncIterable<unknown>;
  resolve(
    bind(content.ContentService, {
      async *list() {
        yield { info: [] };
        yield { info: [] };
      },
    }),
  );
  const got: unknown[] = [];
  for await (const answer of early) got.push(answer);
  t.same(got, [{ info: [] }, { info: [] }]);
});

t.test('a method without a handler is not implemented, early or late', async (t) => {
  const { promise, resolve } = withResolvers<Binding>();
  const { handlers } = later(version.VersionService, promise);
  const early = handlers['version']?.({}, call) as Promise<unknown>;
  resolve(bind(version.VersionService, {}));
  await t.rejects(early, { code: 'not implemented' });
  t.throws(() => handlers['version']?.({}, call), { code: 'not implemented' });
});

t.test('when the service never comes, its calls say why', async (t) => {
  const { handlers } = later(version.VersionService, Promise.reject(unavailable('disk')));
  await t.rejects(async () => handlers['version']?.({}, call), { code: 'unavailable' });
});

t.test('a call whose caller gave up while it waited does nothing', async (t) => {
  const { promise, resolve } = withResolvers<Binding>();
  const { handlers } = later(version.VersionService, promise);
  const caller = new AbortController();
  const impatient = callOf(
    () => undefined,
    () => caller.signal,
    undefined,
  );
  const early = handlers['version']?.({}, impatient) as Promise<unknown>;
  caller.abort(unavailable('the caller is gone'));
  let done = 0;
  resolve(bind(version.VersionService, { version: () => ({ version: String((done += 1)) }) }));
  await t.rejects(early, { code: 'unavailable' });
  t.equal(done, 0);
});
