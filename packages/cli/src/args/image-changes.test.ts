import t from 'tap';
import { parseImageChange } from './image-changes.ts';

function changed(run: Record<string, unknown>, ...lines: string[]): Record<string, unknown> {
  for (const line of lines) parseImageChange(line)(run);
  return run;
}

t.test('instructions change what a Dockerfile would', (t) => {
  t.same(changed({}, 'CMD ["a", "b c"]'), { Cmd: ['a', 'b c'] });
  t.same(changed({}, 'cmd echo $X'), { Cmd: ['/bin/sh', '-c', 'echo $X'] });
  t.same(changed({ Env: ['A=1', 'B=2'] }, 'ENV A="x y" C=\'z\'', 'ENV D some words'), {
    Env: ['B=2', 'A=x y', 'C=z', 'D=some words'],
  });
  t.same(changed({ Labels: { a: 'b' } }, 'LABEL c=d "e f"=g'), { Labels: { a: 'b', c: 'd', 'e f': 'g' } });
  t.same(changed({}, 'EXPOSE 80 53/udp', 'VOLUME /data /log', 'VOLUME ["/x y"]'), {
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    Volumes: { '/data': {}, '/log': {}, '/x y': {} },
  });
  t.same(changed({}, 'USER web:web', 'WORKDIR /srv', 'STOPSIGNAL SIGINT', 'ENTRYPOINT ["/e"]'), {
    User: 'web:web',
    WorkingDir: '/srv',
    StopSignal: 'SIGINT',
    Entrypoint: ['/e'],
  });
  t.end();
});

t.test('what is none is refused by name', (t) => {
  t.throws(() => parseImageChange('RUN rm -rf /'), { code: 'invalid argument', message: /not one of CMD/ });
  t.throws(() => parseImageChange('CMD'), { message: /nothing follows CMD/ });
  t.throws(() => changed({}, 'ENV =x'), { message: /not NAME=VALUE/ });
  t.end();
});
