/**
 * The reconciler's table: what becomes of a task, given what record, disk, the shim and /proc say of it.
 *
 *   record    bundle  shim process  shim answers       container   verdict
 *   ────────  ──────  ────────────  ─────────────────  ──────────  ─────────────────────────────────────────────
 *   ended     any     any           any                any         keep: STOPPED until Delete; a shim left is ended
 *   live      yes     alive         with the task      –           adopt: it runs on as if nothing had happened
 *   live      yes     alive         without the task   –           conclude: half made goes, half deleted is STOPPED
 *   live      yes     alive         not at all         –           await: listed as UNKNOWN, dialled again
 *   live      yes     dead          –                  made        bury: end what is left, keep its exit status
 *   live      yes     dead          –                  not made    discard: the create was cut off
 *   live      no      any           any                any         discard: the machine was restarted, or Delete cut off
 *   none      yes     any           any                any         discard: Delete was cut off after its record went
 *   none      no      alive         any                any         discard: a shim nobody knows
 */

/** What is known of one task at start. */
export interface Observation {
  readonly record: 'none' | 'live' | 'ended';
  readonly bundle: boolean;
  /** The shim's process exists, by pid and start time. */
  readonly shimAlive: boolean;
  /** What the shim said when it was dialled. */
  readonly answer: 'task' | 'no task' | 'silent' | 'none';
  /** The runtime had made a container (init.pid is there); asked of a dead shim only. */
  readonly containerMade: boolean;
}

export type Verdict = 'adopt' | 'await' | 'bury' | 'conclude' | 'discard' | 'keep';

export function verdictOn(seen: Observation): Verdict {
  if (seen.record === 'ended') return 'keep';
  if (seen.record === 'none' || !seen.bundle) return 'discard';
  if (seen.answer === 'task') return 'adopt';
  if (seen.answer === 'no task') return 'conclude';
  if (seen.shimAlive) return 'await';
  return seen.containerMade ? 'bury' : 'discard';
}
