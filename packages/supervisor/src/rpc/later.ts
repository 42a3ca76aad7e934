/** A service that is served before it is there: for the start, when the API already answers. */
import type { ServiceType } from '@gantry/api';
import { notImplemented } from '@gantry/errors';
import type { Call } from './call.ts';
import type { AnyHandler, Binding } from './handlers.ts';

/**
 * Binds a service to handlers that come later. Calls wait for them, and fail with the reason when they never come; one
 * whose caller gave up meanwhile does nothing.
 */
export function later(service: ServiceType, binding: Promise<Binding>): Binding {
  let bound: Binding | undefined;
  binding.then(
    (there) => (bound = there),
    () => undefined, // whoever calls gets to hear it
  );
  const handlers: Record<string, AnyHandler> = {};
  for (const [key, { name, responseStream }] of Object.entries(service.methods)) {
    const answer = ({ handlers: there }: Binding, request: unknown, call: Call): unknown => {
      const handler = there[key];
      if (handler === undefined) throw notImplemented(`method ${name} of ${service.typeName}`);
      return handler(request, call);
    };
    const wait = async (request: unknown, call: Call): Promise<unknown> => {
      const there = await binding;
      call.signal.throwIfAborted();
      return answer(there, request, call);
    };
    async function* stream(request: unknown, call: Call): AsyncGenerator<unknown> {
      yield* (await wait(request, call)) as AsyncIterable<unknown>;
    }
    handlers[key] = (request, call) => {
      if (bound !== undefined) return answer(bound, request, call);
      return responseStream ? stream(request, call) : wait(request, call);
    };
  }
  return { service, handlers };
}
