/** What a zygote says, as gantryd reads it. The protocol is drawn in shim/src/zygote/protocol.ts. */

/** What is said about one request, whose number is in it. */
export type BirthMessage =
  | { readonly forked: number; readonly pid: number }
  | { readonly failed: number; readonly error: string }
  | { readonly listening: number }
  | { readonly lost: number; readonly error: string };

export type ZygoteMessage =
  | { readonly ready: true }
  | { readonly unfit: string }
  | { readonly noRoom: string }
  | BirthMessage;

/** undefined for a line that is none of these. */
export function parseZygoteMessage(line: string): ZygoteMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { ready, unfit, noRoom, forked, pid, failed, error, listening, lost } = value as Readonly<
    Record<string, unknown>
  >;
  if (ready === true) return { ready };
  if (typeof unfit === 'string') return { unfit };
  if (typeof noRoom === 'string') return { noRoom };
  if (typeof listening === 'number') return { listening };
  if (typeof forked === 'number' && typeof pid === 'number') return { forked, pid };
  if (typeof failed === 'number' && typeof error === 'string') return { failed, error };
  if (typeof lost === 'number' && typeof error === 'string') return { lost, error };
  return undefined;
}
