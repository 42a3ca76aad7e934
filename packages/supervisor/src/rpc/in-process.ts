/** Calls of gantryd's services from within gantryd: what asks for something on behalf of clients goes the clients' way. */
import { namespaceHeader } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf, ServiceType } from '@gantry/api';
import { internal } from '@gantry/errors';
import { callOf } from './call.ts';
import type { Binding } from './handlers.ts';

/** Makes one call of one namespace; it rejects with what the handler throws. Methods whose answers are streams are not for it. */
export type InProcessCall = <S extends ServiceType, K extends MethodName<S>>(
  service: S,
  method: K,
  request: PartialMessage<RequestOf<S, K>>,
) => Promise<PartialMessage<ResponseOf<S, K>>>;

/** Calls over these services in a namespace, until `signal` is aborted. */
export function inProcess(bindings: readonly Binding[], namespace: string, signal: AbortSignal): InProcessCall {
  const header = (name: string): string | undefined => (name === namespaceHeader ? namespace : undefined);
  return async (service, method, request) => {
    const handler = bindings.find((binding) => binding.service === service)?.handlers[method];
    const type = service.methods[method];
    if (handler === undefined || type === undefined) throw internal(`nothing is behind ${service.typeName}/${method}`);
    const call = callOf(header, () => signal, undefined);
    return (await handler(type.requestType.create(request), call)) as never;
  };
}
