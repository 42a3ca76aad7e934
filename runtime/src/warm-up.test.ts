import t from 'tap';
import { rehearse, warmUp } from './warm-up.ts';

t.test('the rehearsal goes all the way: a parent destroys its container, both children execute', (t) => {
  const [parent, init, entering] = rehearse();
  t.same(parent?.argumentsOf('pidfdSendSignal').length, 1);
  t.same(parent?.names().at(-1), 'close', 'the last thing of a destroy');
  t.same(parent?.openDescriptors(), []);
  for (const child of [init, entering]) {
    t.equal(child?.argumentsOf('execve')[0]?.[0], '/bin/true');
    t.ok((child?.argumentsOf('prctl').length ?? 0) > 10, 'capabilities are dropped');
  }
  t.ok(init?.names().includes('pivotRoot') && entering?.names().includes('setns'));
  t.end();
});

t.test('warming up leaves no trace and can be repeated', (t) => {
  warmUp();
  warmUp();
  t.end();
});
