import t from 'tap';
import { verdictOn } from './verdict.ts';
import type { Observation, Verdict } from './verdict.ts';

const running: Observation = { record: 'live', bundle: true, shimAlive: true, answer: 'task', containerMade: true };

const table: readonly (readonly [string, Partial<Observation>, Verdict])[] = [
  ['a shim that has the task is adopted', {}, 'adopt'],
  ['a shim without a task has a create or a delete cut off', { answer: 'no task' }, 'conclude'],
  ['a silent shim that lives is awaited', { answer: 'silent' }, 'await'],
  ['a shim that does not listen yet is awaited', { answer: 'none' }, 'await'],
  ['a dead shim with a container is buried', { answer: 'none', shimAlive: false }, 'bury'],
  ['a silent socket of a dead shim is buried', { answer: 'silent', shimAlive: false }, 'bury'],
  ['a create that was cut off is discarded', { answer: 'none', shimAlive: false, containerMade: false }, 'discard'],
  ['a record without a bundle is discarded', { bundle: false, answer: 'none', shimAlive: false }, 'discard'],
  ['a bundle without a record is discarded', { record: 'none' }, 'discard'],
  ['a shim nobody knows is discarded', { record: 'none', bundle: false }, 'discard'],
  ['a task that ended is kept whatever is there', { record: 'ended', answer: 'silent' }, 'keep'],
  ['a task that ended is kept when nothing is there', { record: 'ended', bundle: false, shimAlive: false }, 'keep'],
];

for (const [name, change, verdict] of table) {
  t.test(name, (t) => {
    t.equal(verdictOn({ ...running, ...change }), verdict);
    t.end();
  });
}

t.test('every combination has a verdict, and only a shim that has the task is adopted', (t) => {
  for (const record of ['none', 'live', 'ended'] as const)
    for (const bundle of [true, false])
      for (const shimAlive of [true, false])
        for (const answer of ['task', 'no task', 'silent', 'none'] as const)
          for (const containerMade of [true, false]) {
            const verdict = verdictOn({ record, bundle, shimAlive, answer, containerMade });
            if (verdict === 'adopt') t.same([record, bundle, answer], ['live', true, 'task']);
            if (record === 'ended') t.equal(verdict, 'keep');
          }
  t.end();
});
