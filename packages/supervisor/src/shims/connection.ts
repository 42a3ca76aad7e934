/** The supervisor's line to one shim: task calls down, and the news that the shim is gone. */
import { gantryShim, taskV2, taskV3 } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf, ServiceType } from '@gantry/api';
import { isCode } from '@gantry/errors';
import { TtrpcClient } from '@gantry/ttrpc';

type Task = typeof taskV3.TaskService;

export interface ShimCallOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What somebody else's shim said it speaks. */
export interface SpokenApi {
  /** Of the task API: 2 or 3. */
  readonly version: number;
  /** Where, as the shim said it. */
  readonly address: string;
}

/** Version 2 of the task service has other names and the same shapes. */
const taskServiceV2 = taskV2.TaskService as unknown as Task;

export class ShimConnection {
  readonly #client: TtrpcClient;
  #service: Task;
  /** A shim that is not ours may announce version 3 and not have it. */
  readonly #isForeign: boolean;
  /** What a shim that is not ours has said it speaks, and where. */
  readonly spoken: SpokenApi | undefined;

  private constructor(client: TtrpcClient, foreign: SpokenApi | undefined) {
    this.#client = client;
    this.#service = foreign?.version === 2 ? taskServiceV2 : taskV3.TaskService;
    this.#isForeign = foreign !== undefined;
    this.spoken = foreign;
  }

  /**
   * `foreign` is what a shim that is not ours speaks. Rejects with unavailable when nobody listens, with deadline exceeded
   * when nobody answers.
   */
  static async connect(address: string, timeoutMs: number, foreign?: SpokenApi): Promise<ShimConnection> {
    return new ShimConnection(await TtrpcClient.connect(address, { timeoutMs }), foreign);
  }

  get isForeign(): boolean {
    return this.#isForeign;
  }

  get closed(): boolean {
    return this.#client.closed;
  }

  call<K extends MethodName<Task>>(
    method: K,
    request: PartialMessage<RequestOf<Task, K>>,
    options: ShimCallOptions = {},
  ): Promise<ResponseOf<Task, K>> {
    if (!this.#isForeign) return this.#client.call(taskV3.TaskService, method, request, options);
    return this.#callForeign(method, request, options);
  }

  async #callForeign<K extends MethodName<Task>>(
    method: K,
    request: PartialMessage<RequestOf<Task, K>>,
    options: ShimCallOptions,
  ): Promise<ResponseOf<Task, K>> {
    try {
      return await this.#client.call(this.#service, method, request, options);
    } catch (err) {
      if (this.#service === taskServiceV2 || !isCode(err, 'not implemented')) throw err;
      const answer = await this.#client.call(taskServiceV2, method, request, options);
      this.#service = taskServiceV2;
      return answer;
    }
  }

  /** A call of another service than the task API, which the shim may not have. */
  callOther<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    options: ShimCallOptions = {},
  ): Promise<ResponseOf<S, K>> {
    return this.#client.call(service, method, request, options);
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
