import t from 'tap';
import { anyTypeName, events, isAny, packAny, packJsonAny, typeOfAny, typeUrls, unpackAny } from './index.ts';

t.test('a packed message is named by its bare full name', (t) => {
  const any = packAny(events.TaskOOM, { containerId: 'web' });
  t.equal(any.typeUrl, 'containerd.events.TaskOOM');
  t.strictSame(unpackAny(events.TaskOOM, any), { containerId: 'web' });
  t.end();
});

t.test('a host before the name is accepted', (t) => {
  const any = {
    ...packAny(events.TaskOOM, { containerId: 'web' }),
    typeUrl: 'type.googleapis.com/containerd.events.TaskOOM',
  };
  t.equal(unpackAny(events.TaskOOM, any).containerId, 'web');
  t.equal(typeOfAny(any), events.TaskOOM);
  t.equal(anyTypeName({ typeUrl: 'containerd.events.TaskOOM' }), 'containerd.events.TaskOOM');
  t.end();
});

t.test('another type is an invalid argument', (t) => {
  const any = packAny(events.TaskOOM, {});
  t.throws(() => unpackAny(events.TaskExit, any), { code: 'invalid argument' });
  t.notOk(isAny(events.TaskExit, any));
  t.notOk(isAny(events.TaskExit, undefined));
  t.equal(typeOfAny({ typeUrl: 'no.such.Type' }), undefined);
  t.end();
});

t.test('documents travel as JSON under their own URL', (t) => {
  const any = packJsonAny(typeUrls.process, { args: ['ü'] });
  t.equal(any.typeUrl, 'types.containerd.io/opencontainers/runtime-spec/1/Process');
  t.equal(Buffer.from(any.value).toString(), '{"args":["ü"]}');
  t.end();
});
