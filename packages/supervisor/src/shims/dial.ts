/** Dialling a shim that was launched earlier: does it answer, and does it have its task? */
import { codeOf } from '@gantry/errors';
import { ShimConnection } from './connection.ts';

export interface Dialled {
  /** `none`: nobody listens; `silent`: somebody does and says nothing of use. */
  readonly answer: 'task' | 'no task' | 'silent' | 'none';
  /** The caller's to close; undefined when nobody listens. */
  readonly connection: ShimConnection | undefined;
}

/** Never rejects. Connect also makes the shim send the events it has kept. Each step takes at most `timeoutMs`. */
export async function dial(socketPath: string, id: string, timeoutMs: number): Promise<Dialled> {
  let connection: ShimConnection;
  try {
    connection = await ShimConnection.connect(socketPath, timeoutMs);
  } catch {
    return { answer: 'none', connection: undefined };
  }
  try {
    await connection.call('connect', { id }, { timeoutMs });
    await connection.call('state', { id }, { timeoutMs });
    return { answer: 'task', connection };
  } catch (err) {
    return { answer: codeOf(err) === 'not found' ? 'no task' : 'silent', connection };
  }
}
