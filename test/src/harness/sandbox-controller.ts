/** Calls of containerd's sandbox controller, and where gantryd keeps what they make. */
import path from 'node:path';
import { sandbox } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf } from '@gantry/api';
import type { Client } from '@gantry/client';

type Controller = typeof sandbox.ControllerService;

/** The one controller there is. */
export const sandboxer = 'shim';

export class SandboxController {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  call<K extends MethodName<Controller>>(
    method: K,
    request: PartialMessage<RequestOf<Controller, K>>,
  ): Promise<ResponseOf<Controller, K>> {
    const { methods } = sandbox.ControllerService;
    return this.#client.transport.unary(sandbox.ControllerService, methods[method] as never, request as never, {
      timeoutMs: 60_000,
    });
  }

  make(sandboxId: string, runtime = 'io.containerd.gantry.v1'): Promise<ResponseOf<Controller, 'create'>> {
    return this.call('create', { sandboxer, sandboxId, sandbox: { sandboxId, runtime: { name: runtime } } });
  }
}

export function sandboxBundle(
  { daemon, namespace }: { readonly daemon: { readonly state: string }; readonly namespace: string },
  id: string,
): string {
  return path.join(daemon.state, 'sandboxes', namespace, id);
}
