/**
 * How Node has to be started for a process that forks or clones itself: V8 keeps its work to itself, and Node's pool of
 * threads, which V8 would hand part of a collection to, is empty. A child would wait for threads that it does not have.
 */
export const forkingFlags: readonly string[] = ['--single-threaded', '--v8-pool-size=0'];
