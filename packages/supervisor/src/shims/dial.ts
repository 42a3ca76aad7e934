/** Dialling a shim that was launched earlier: does it answer, and does it have its task? */
import { timestampToNs } from '@gantry/api';
import { codeOf } from '@gantry/errors';
import type { ShimConnection } from './connection.ts';

/** What is known of init without asking: as the shim's last answer or event said. */
export interface InitStatus {
  readonly pid: number;
  readonly status: number;
  /** 0–255, of one that is STOPPED. */
  readonly exitStatus: number;
  readonly exitedAtNs: bigint | undefined;
}

export interface Dialled {
  /** `none`: nobody listens; `silent`: somebody does and says nothing of use. */
  readonly answer: 'task' | 'no task' | 'silent' | 'none';
  /** The caller's to close; undefined when nobody listens. */
  readonly connection: ShimConnection | undefined;
  /** How the task's init is; undefined when there is no task. */
  readonly init: InitStatus | undefined;
}

/** Never rejects. Connect also makes a shim of ours send the events it has kept. Each step takes at most `timeoutMs`. */
export async function dial(connect: () => Promise<ShimConnection>, id: string, timeoutMs: number): Promise<Dialled> {
  let connection: ShimConnection;
  try {
    connection = await connect();
  } catch {
    return { answer: 'none', connection: undefined, init: undefined };
  }
  try {
    const [, state] = await connection.together(() =>
      Promise.all([connection.call('connect', { id }, { timeoutMs }), connection.call('state', { id }, { timeoutMs })]),
    );
    const { pid, status, exitStatus, exitedAt } = state;
    const exitedAtNs = exitedAt === undefined ? undefined : timestampToNs(exitedAt);
    return { answer: 'task', connection, init: { pid, status, exitStatus, exitedAtNs } };
  } catch (err) {
    return { answer: codeOf(err) === 'not found' ? 'no task' : 'silent', connection, init: undefined };
  }
}
