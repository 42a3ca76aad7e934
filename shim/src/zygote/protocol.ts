/**
 * What gantryd and the zygote say to each other: one JSON object a line, on one stream socket that is the zygote's
 * descriptor 3.
 *
 *   gantryd                                       zygote                                   spare (forked)
 *   ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 *   spawns it, sealed node, fd 3             ──►  loads, exercises what shims do, settles
 *                                                 forks once to see whether a child works
 *                                            ◄──  {"ready":true}  or  {"unfit":"why"} and ends; {"noRoom":"why"} and
 *                                                 ends when the host has no process, memory or descriptor to spare
 *   {"fork":7,"socket":"/…/s/spare-7"}       ──►  fork
 *                                            ◄──  {"forked":7,"pid":123}      or  {"failed":7,"error":"why"}
 *                                                                                          own session, own event
 *                                                                                          loop; listens
 *                                            ◄──────────────────────────────────────────   {"listening":7}
 *                                                                                          or {"lost":7,"error":"why"}
 *                                                                                          and ends
 *   connects to the socket                        (reads on)                               closes its copy of 3
 *
 * When gantryd dies the zygote reads the end of file and ends. When the zygote dies gantryd sees the end of file and
 * starts another; spares and shims owe it nothing. `forked` and `listening` may come in either order. A spare that
 * cannot say that it listens ends, and so does one that nobody connects to or that is left before it was adopted.
 */

/** gantryd's only request. */
export interface ForkRequest {
  /** Names the request in the answers. */
  readonly fork: number;
  /** Where the spare shall listen. */
  readonly socket: string;
}

export type ZygoteMessage =
  | { readonly ready: true }
  | { readonly unfit: string }
  | { readonly noRoom: string }
  | { readonly forked: number; readonly pid: number }
  | { readonly failed: number; readonly error: string }
  | { readonly listening: number }
  | { readonly lost: number; readonly error: string };

/** The zygote's end. */
export const controlFd = 3;

export function encodeMessage(message: ZygoteMessage): Buffer {
  return Buffer.from(`${JSON.stringify(message)}\n`);
}

/** The request in a line; undefined when it is none. */
export function parseForkRequest(line: string): ForkRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('fork' in value) || !('socket' in value)) return undefined;
  const { fork, socket } = value;
  return typeof fork === 'number' && typeof socket === 'string' ? { fork, socket } : undefined;
}
