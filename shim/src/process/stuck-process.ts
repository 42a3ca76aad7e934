/** Says in which kernel function a process hangs that SIGKILL does not end (proc(5): stat, wchan). */
import { readFileSync } from 'node:fs';

/** For error texts: `process 12 is in state D (request_wait_answer)`. Never throws. */
export function stuckProcess(pid: number): string {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  if (state === '') return `process ${pid} is gone`;
  const waitsIn = readOrEmpty(`/proc/${pid}/wchan`);
  return `process ${pid} is in state ${state}${waitsIn === '' || waitsIn === '0' ? '' : ` (${waitsIn})`}`;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
