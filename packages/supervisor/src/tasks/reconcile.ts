/**
 * The reconciler: compares records, bundles, shims and /proc at start and does what verdict.ts says. Shims are dialled
 * concurrently, each with its own deadline, so that a wedged one holds up nobody.
 */
import { v1Types } from '@gantry/api';
import { messageOf } from '@gantry/errors';
import { isAlive, isRunning, killProcess } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { TaskName } from './bundle.ts';
import type { TaskManager } from './manager.ts';
import type { Task } from './task.ts';
import { verdictOn } from './verdict.ts';
import type { Observation } from './verdict.ts';

/** How many shims are dialled at a time: enough to keep them busy, few enough that other calls are not held up. */
const dialLimit = 16;

/** A recorded task or a bundle without one, to be judged. */
export interface Candidate extends TaskName {
  /** The task that its record was listed as; undefined when there is none. */
  readonly task: Task | undefined;
  /** The shim of a bundle without a record. */
  readonly shim: ProcessIdentity | undefined;
}

/** What the reconciler has found and not yet judged. */
export interface Findings {
  readonly candidates: readonly Candidate[];
  /** The shim sockets, by file name. */
  readonly sockets: readonly string[];
}

/**
 * Looks at the state directory and /proc, and lists every recorded task: resting when it is seen to run, and not
 * reachable yet, a candidate, when only its shim can tell. Call before a call about tasks is answered:
 * what comes to be later is nobody's leftover.
 */
export async function findTasks(manager: TaskManager): Promise<Findings> {
  const { bundles, records } = manager.components;
  const found = new Map<string, Candidate>();
  const known = new Set<string>();
  const keyOf = ({ namespace, id }: TaskName): string => `${namespace}/${id}`;
  for (const { namespace, id, record } of records.list()) {
    const task = manager.add({ namespace, id }, record, bundles.foreignBinary({ namespace, id }) !== undefined);
    if (rests(manager, task)) {
      known.add(keyOf(task));
      continue;
    }
    task.state = record.exit === undefined ? { kind: 'unreachable' } : { kind: 'ended', exit: record.exit };
    found.set(keyOf(task), { namespace, id, task, shim: undefined });
  }
  for (const name of await bundles.list()) {
    if (!found.has(keyOf(name)) && !known.has(keyOf(name)))
      found.set(keyOf(name), { ...name, task: undefined, shim: bundles.readShim(name) });
  }
  return { candidates: [...found.values()], sockets: await bundles.listSockets() };
}

/**
 * Whether the task was started, its shim lives and goes on, and has not noted its end; then it runs, and rests. A shim
 * of ours that notes it from now on tells us.
 */
function rests({ components: { bundles } }: TaskManager, task: Task): boolean {
  const { exit, runningPid: pid } = task.record;
  if (exit !== undefined || pid === undefined || task.isForeign) return false;
  const shim = bundles.readShim(task);
  if (shim === undefined || !isRunning(shim) || bundles.hasEnded(task)) return false;
  task.process = shim;
  task.init = { pid, status: v1Types.Status.RUNNING, exitStatus: 0, exitedAtNs: undefined };
  task.state = { kind: 'resting' };
  return true;
}

/** Resolves when every candidate has its verdict carried out; each failure is logged and leaves the others alone. */
export async function reconcileTasks(manager: TaskManager, { candidates, sockets }: Findings): Promise<void> {
  const { bundles, log } = manager.components;
  const waiting = [...candidates];
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const candidate = next;
      try {
        await manager.exclusive(candidate, () => settle(manager, candidate));
      } catch (err) {
        log.error({ ns: candidate.namespace, container: candidate.id, err: messageOf(err) }, 'reconciling a task');
        if (candidate.task?.state.kind === 'unreachable') manager.awaitShim(candidate.task);
      }
    }
  };
  await Promise.all(Array.from({ length: dialLimit }, worker));
  await bundles.removeOtherSockets(sockets, () => manager.all());
}

async function settle(manager: TaskManager, candidate: Candidate): Promise<void> {
  const { bundles, log } = manager.components;
  const { namespace, id, task } = candidate;
  // The API is served meanwhile: a task that was deleted, or made anew under this name, is not what was found.
  if (manager.find(candidate) !== task) {
    if (task === undefined && candidate.shim !== undefined) killProcess(candidate.shim);
    return;
  }
  const shim = task === undefined ? candidate.shim : bundles.readShim(candidate);
  if (task !== undefined) task.process = shim;
  const record = task?.record;
  const alive = shim !== undefined && isAlive(shim);
  const dialled = alive && record?.exit === undefined ? await manager.dial(candidate) : undefined;
  const seen: Observation = {
    record: record === undefined ? 'none' : record.exit === undefined ? 'live' : 'ended',
    bundle: shim !== undefined || bundles.exists(candidate),
    shimAlive: alive,
    answer: dialled?.answer ?? 'none',
    containerMade: !alive && (await bundles.hasContainer(candidate)),
  };
  const verdict = verdictOn(seen);
  if (verdict !== 'adopt') dialled?.connection?.close();
  if (verdict !== 'adopt' && verdict !== 'keep')
    log.warn({ ns: namespace, container: id, verdict, ...seen }, 'reconciling');
  if (task === undefined) {
    await manager.discard(candidate, shim);
    return;
  }
  switch (verdict) {
    case 'adopt':
      if (dialled?.connection !== undefined && dialled.init !== undefined)
        manager.attach(task, dialled.connection, dialled.init);
      return;
    case 'await':
      manager.awaitShim(task);
      return;
    case 'bury':
      await manager.bury(task);
      return;
    case 'conclude':
      await manager.conclude(task, shim);
      return;
    case 'keep':
      if (alive || seen.bundle) await manager.discard(candidate, shim);
      return;
    default:
      await manager.discard(candidate, shim);
      manager.forget(task);
  }
}
