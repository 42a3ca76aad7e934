/**
 * What may be done with a process of the container, as a table of states × operations.
 *
 *              start   delete  kill        exec    pause   resume  update  resize
 *   created    yes     yes     yes         yes     –       –       yes     yes        (init is set up, not yet executed)
 *   running    –       –       yes         yes     yes     –       yes     yes
 *   pausing    –       –       yes         –       –       –       yes     yes
 *   paused     –       –       yes         –       –       yes     yes     yes
 *   stopped    –       yes     not found   –       –       –       –       –
 *   deleted    –       not found everywhere
 *
 * The sentences are the ones containerd's clients know from its own shim; they print them verbatim and a few match
 * on them. What containerd answers as UNKNOWN stays unknown.
 */
import { failedPrecondition, notFound, unknown } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';

/** The life of init and of an exec. An exec is never pausing or paused: its container is. */
export type ProcessState = 'created' | 'running' | 'pausing' | 'paused' | 'stopped' | 'deleted';

export type Operation = 'start' | 'delete' | 'kill' | 'exec' | 'pause' | 'resume' | 'update' | 'resize' | 'checkpoint';

/** undefined: allowed. Otherwise the refusal. */
type Verdict = (() => GantryError) | undefined;
type Row = Readonly<Record<Operation, Verdict>>;

const refuse =
  (text: string): Verdict =>
  () =>
    unknown(text);
const finished: Verdict = () => notFound('process already finished');
const gone: Verdict = () => notFound('process was deleted');

const deletedRow: Row = {
  start: gone,
  delete: gone,
  kill: gone,
  exec: gone,
  pause: gone,
  resume: gone,
  update: gone,
  resize: gone,
  checkpoint: gone,
};

const initTable: Readonly<Record<ProcessState, Row>> = {
  created: {
    start: undefined,
    delete: undefined,
    kill: undefined,
    exec: undefined,
    pause: refuse('cannot pause task in created state'),
    resume: refuse('cannot resume task in created state'),
    update: undefined,
    resize: undefined,
    checkpoint: refuse('cannot checkpoint a task in created state'),
  },
  running: {
    start: refuse('cannot start a running process'),
    delete: refuse('cannot delete a running process'),
    kill: undefined,
    exec: undefined,
    pause: undefined,
    resume: refuse('cannot resume a running process'),
    update: undefined,
    resize: undefined,
    checkpoint: undefined,
  },
  pausing: {
    start: refuse('cannot start a pausing process'),
    delete: refuse('cannot delete a pausing process'),
    kill: undefined,
    exec: refuse('cannot exec in a pausing state'),
    pause: refuse('cannot pause a pausing container'),
    resume: refuse('cannot resume a pausing container'),
    update: undefined,
    resize: undefined,
    checkpoint: refuse('cannot checkpoint a pausing container'),
  },
  paused: {
    start: refuse('cannot start a paused process'),
    delete: refuse('cannot delete a paused process'),
    kill: undefined,
    exec: refuse('cannot exec in a paused state'),
    pause: refuse('cannot pause a paused container'),
    resume: undefined,
    update: undefined,
    resize: undefined,
    checkpoint: undefined,
  },
  stopped: {
    start: refuse('cannot start a stopped process'),
    delete: undefined,
    kill: finished,
    exec: refuse('cannot exec in a stopped state'),
    pause: refuse('cannot pause a stopped container'),
    resume: refuse('cannot resume a stopped container'),
    update: refuse('cannot update a stopped container'),
    resize: refuse('cannot resize a stopped container'),
    checkpoint: refuse('cannot checkpoint a stopped container'),
  },
  deleted: deletedRow,
};

/** Operations that belong to the container make no sense on an exec; the service never asks for them. */
const notForExecs = {
  exec: refuse('cannot exec in an exec'),
  pause: refuse('cannot pause an exec'),
  resume: refuse('cannot resume an exec'),
  update: refuse('cannot update an exec'),
  checkpoint: refuse('cannot checkpoint an exec'),
} as const;

const execRunning: Row = {
  start: refuse('cannot start a running process'),
  delete: refuse('cannot delete a running process'),
  kill: undefined,
  resize: undefined,
  ...notForExecs,
};

const execTable: Readonly<Record<ProcessState, Row>> = {
  created: {
    start: undefined,
    delete: undefined,
    kill: () => failedPrecondition('process not created'),
    resize: undefined,
    ...notForExecs,
  },
  running: execRunning,
  pausing: execRunning,
  paused: execRunning,
  stopped: {
    start: refuse('cannot start a stopped process'),
    delete: undefined,
    kill: finished,
    resize: refuse('cannot resize a stopped container'),
    ...notForExecs,
  },
  deleted: deletedRow,
};

/** Throws the refusal of `operation` on an init in `state`. */
export function checkInitOperation(state: ProcessState, operation: Operation): void {
  const verdict = initTable[state][operation];
  if (verdict !== undefined) throw verdict();
}

/** Throws the refusal of `operation` on an exec in `state`. */
export function checkExecOperation(state: ProcessState, operation: Operation): void {
  const verdict = execTable[state][operation];
  if (verdict !== undefined) throw verdict();
}

/** containerd.v1.types.Status numbers; a deleted process is not reported at all, so its number is never sent. */
export const statusOfState: Readonly<Record<ProcessState, number>> = {
  created: 1,
  running: 2,
  stopped: 3,
  paused: 4,
  pausing: 5,
  deleted: 0,
};
