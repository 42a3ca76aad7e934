/**
 * The reconciler: compares store, bundles, shims and /proc at start and does what verdict.ts says. Shims are dialled
 * concurrently, each with its own deadline, so that a wedged one holds up nobody.
 */
import { messageOf } from '@gantry/errors';
import { dial } from '../shims/dial.ts';
import { findShims, isAlive } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { TaskName } from './bundle.ts';
import type { TaskManager } from './manager.ts';
import { allTasks } from './record.ts';
import type { TaskRecord } from './record.ts';
import { verdictOn } from './verdict.ts';
import type { Observation } from './verdict.ts';

/** How many shims are dialled at a time. */
const dialLimit = 64;

export interface Candidate extends TaskName {
  readonly record: TaskRecord | undefined;
  readonly shim: ProcessIdentity | undefined;
}

/** What the reconciler has found and not yet judged. */
export interface Findings {
  readonly candidates: readonly Candidate[];
}

/**
 * Looks at store, disk and /proc, and lists every recorded task, not reachable yet. Call before the API is served: what
 * comes to be later is nobody's leftover.
 */
export async function findTasks(manager: TaskManager): Promise<Findings> {
  const candidates = await findCandidates(manager);
  for (const candidate of candidates) {
    if (candidate.record === undefined) continue;
    const task = manager.add(candidate, candidate.record);
    const { exit } = candidate.record;
    task.state = exit === undefined ? { kind: 'unreachable' } : { kind: 'ended', exit };
  }
  return { candidates };
}

/** Resolves when every candidate has its verdict carried out; each failure is logged and leaves the others alone. */
export async function reconcileTasks(manager: TaskManager, { candidates }: Findings): Promise<void> {
  const { bundles, log } = manager.components;
  const waiting = [...candidates];
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const candidate = next;
      try {
        await manager.exclusive(candidate, () => settle(manager, candidate));
      } catch (err) {
        log.error({ ns: next.namespace, container: next.id, err: messageOf(err) }, 'reconciling a task');
      }
    }
  };
  await Promise.all(Array.from({ length: dialLimit }, worker));
  await bundles.removeOtherSockets(manager.all());
}

/** Everything that is a task, half a task, or the remains of one. */
async function findCandidates(manager: TaskManager): Promise<Candidate[]> {
  const { bundles, store } = manager.components;
  const found = new Map<string, Candidate>();
  const keyOf = ({ namespace, id }: TaskName): string => `${namespace}/${id}`;
  for (const { namespace, id, record } of allTasks(store)) {
    found.set(keyOf({ namespace, id }), { namespace, id, record, shim: undefined });
  }
  for (const name of await bundles.list()) {
    const known = found.get(keyOf(name));
    found.set(keyOf(name), { ...name, record: known?.record, shim: await bundles.readShim(name) });
  }
  for (const { bundle, identity } of await findShims(bundles.dir)) {
    const [namespace = '', id = ''] = bundle.slice(bundles.dir.length + 1).split('/');
    const known = found.get(keyOf({ namespace, id }));
    found.set(keyOf({ namespace, id }), { namespace, id, record: known?.record, shim: known?.shim ?? identity });
  }
  return [...found.values()];
}

async function settle(manager: TaskManager, candidate: Candidate): Promise<void> {
  const { bundles, log, timeouts } = manager.components;
  const { namespace, id, record, shim } = candidate;
  // A process that was found by its command line and is not noted yet is noted now: later it is known by that file.
  if (shim !== undefined && record !== undefined && (await bundles.exists(candidate))) {
    await bundles.writeShim(candidate, shim);
  }
  const alive = shim !== undefined && isAlive(shim);
  const dialled =
    alive && record?.exit === undefined ? await dial(bundles.socketOf(candidate), id, timeouts.shimLoadMs) : undefined;
  const seen: Observation = {
    record: record === undefined ? 'none' : record.exit === undefined ? 'live' : 'ended',
    bundle: await bundles.exists(candidate),
    shimAlive: alive,
    answer: dialled?.answer ?? 'none',
    containerMade: await bundles.hasContainer(candidate),
  };
  const verdict = verdictOn(seen);
  if (verdict !== 'adopt') dialled?.connection?.close();
  if (verdict !== 'adopt' && verdict !== 'keep')
    log.warn({ ns: namespace, container: id, verdict, ...seen }, 'reconciling');
  if (record === undefined) {
    await manager.discard(candidate, shim);
    return;
  }
  const task = manager.get(namespace, id);
  switch (verdict) {
    case 'adopt':
      if (dialled?.connection !== undefined) manager.attach(task, dialled.connection);
      return;
    case 'await':
      manager.awaitShim(task);
      return;
    case 'bury':
      await manager.bury(task);
      return;
    case 'keep':
      if (alive || seen.bundle) await manager.discard(candidate, shim);
      return;
    default:
      await manager.discard(candidate, shim);
      await manager.forget(task);
  }
}
