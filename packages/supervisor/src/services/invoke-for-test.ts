/** Calls a service's handlers the way a client does, without a server: for unit tests. */
import { leaseHeader, namespaceHeader } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { notImplemented } from '@gantry/errors';
import { callOf } from '../rpc/call.ts';
import type { Binding } from '../rpc/handlers.ts';

/** Who calls; without a namespace none is sent. */
export interface Caller {
  readonly namespace?: string;
  readonly lease?: string;
  readonly signal?: AbortSignal;
}

/** What a method answers to a request of which only some fields are given. Rejects with what the handler throws. */
export async function invoke(
  binding: Binding,
  name: string,
  request: PartialMessage<Record<string, unknown>>,
  caller: Caller = { namespace: 'ns' },
): Promise<unknown> {
  const method = binding.service.methods[name];
  const handler = binding.handlers[name];
  if (method === undefined || handler === undefined) throw notImplemented(`${binding.service.typeName}.${name}`);
  const headers = new Map([
    [namespaceHeader, caller.namespace],
    [leaseHeader, caller.lease],
  ]);
  const call = callOf(
    (header) => headers.get(header),
    () => caller.signal ?? new AbortController().signal,
    undefined,
  );
  const answer: unknown = await handler(method.requestType.create(request), call);
  return answer;
}
