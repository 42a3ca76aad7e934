/** The supervisor's line to one shim: task calls down, and the news that the shim is gone. */
import { gantryShim, taskV3 } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf } from '@gantry/api';
import { TtrpcClient } from '@gantry/ttrpc';

type Task = typeof taskV3.TaskService;

export interface ShimCallOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class ShimConnection {
  readonly #client: TtrpcClient;

  private constructor(client: TtrpcClient) {
    this.#client = client;
  }

  /** Rejects with unavailable when nobody listens, with deadline exceeded when nobody answers. */
  static async connect(address: string, timeoutMs: number): Promise<ShimConnection> {
    return new ShimConnection(await TtrpcClient.connect(address, { timeoutMs }));
  }

  get closed(): boolean {
    return this.#client.closed;
  }

  call<K extends MethodName<Task>>(
    method: K,
    request: PartialMessage<RequestOf<Task, K>>,
    options: ShimCallOptions = {},
  ): Promise<ResponseOf<Task, K>> {
    return this.#client.call(taskV3.TaskService, method, request, options);
  }

  /** Makes several calls whose requests leave in one write: the shim wakes up once. */
  together<T>(calls: () => T): T {
    return this.#client.together(calls);
  }

  /** Tells a spare shim which container it is for. What is called next goes out behind it. */
  async adopt(request: PartialMessage<gantryShim.AdoptRequest>, timeoutMs: number): Promise<void> {
    await this.#client.call(gantryShim.SpareService, 'adopt', request, { timeoutMs });
  }

  /** Calls `listener` once when the connection is lost or closed. */
  onClose(listener: () => void): void {
    this.#client.onClose(listener);
  }

  close(): void {
    this.#client.close();
  }
}
