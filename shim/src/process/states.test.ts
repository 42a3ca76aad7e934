import { codeOf, messageOf } from '@gantry/errors';
import t from 'tap';
import { checkExecOperation, checkInitOperation, statusOfState } from './states.ts';
import type { Operation, ProcessState } from './states.ts';

/** The table of the task API, as its documentation draws it: y allowed, u unknown, n not found, p precondition. */
const operations: readonly Operation[] = ['start', 'delete', 'kill', 'exec', 'pause', 'resume', 'update', 'checkpoint'];
const initTable: Readonly<Record<ProcessState, string>> = {
  created: 'yyyyuuyu',
  running: 'uuyyyuyy',
  pausing: 'uuyuuuyu',
  paused: 'uuyuuyyy',
  stopped: 'uynuuuuu',
  deleted: 'nnnnnnnn',
};
const execOperations: readonly Operation[] = ['start', 'delete', 'kill', 'resize'];
const execTable: Readonly<Record<ProcessState, string>> = {
  created: 'yypy',
  running: 'uuyy',
  pausing: 'uuyy',
  paused: 'uuyy',
  stopped: 'uynu',
  deleted: 'nnnn',
};

function letter(check: () => void): string {
  try {
    check();
    return 'y';
  } catch (err) {
    return { unknown: 'u', 'not found': 'n', 'failed precondition': 'p' }[codeOf(err) as string] ?? '?';
  }
}

t.test('init allows and refuses what the table says', async (t) => {
  for (const [state, row] of Object.entries(initTable)) {
    const seen = operations.map((operation) => letter(() => checkInitOperation(state as ProcessState, operation)));
    t.equal(seen.join(''), row, state);
  }
});

t.test('an exec allows and refuses what the table says', async (t) => {
  for (const [state, row] of Object.entries(execTable)) {
    const seen = execOperations.map((operation) => letter(() => checkExecOperation(state as ProcessState, operation)));
    t.equal(seen.join(''), row, state);
  }
});

t.test('refusals are the sentences that clients know', async (t) => {
  const sentences: [ProcessState, Operation, string][] = [
    ['running', 'start', 'cannot start a running process'],
    ['running', 'delete', 'cannot delete a running process'],
    ['running', 'resume', 'cannot resume a running process'],
    ['paused', 'pause', 'cannot pause a paused container'],
    ['paused', 'exec', 'cannot exec in a paused state'],
    ['stopped', 'exec', 'cannot exec in a stopped state'],
    ['stopped', 'pause', 'cannot pause a stopped container'],
    ['stopped', 'kill', 'process already finished'],
    ['created', 'pause', 'cannot pause task in created state'],
  ];
  for (const [state, operation, sentence] of sentences) {
    try {
      checkInitOperation(state, operation);
      t.ok(false, `${operation} is allowed in ${state}`);
    } catch (err) {
      t.equal(messageOf(err), sentence);
    }
  }
});

t.test('states have their numbers of the wire', async (t) => {
  t.same(statusOfState, { created: 1, running: 2, stopped: 3, paused: 4, pausing: 5, deleted: 0 });
});
