/** A container whose shim was launched by the test, with the calls of its life. */
import { typeUrls } from '@gantry/api';
import type { taskV3 } from '@gantry/api';
import { ShimConnection } from '../connection.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import type { NurseryPlace } from './nursery-place.ts';
import { gone } from './nursery-place.ts';

export const sleeper = ['sleep', '1000'];

export class LaunchedContainer {
  readonly id: string;
  readonly shim: ProcessIdentity;
  readonly pid: number;
  #connection: ShimConnection;

  private constructor(id: string, shim: ProcessIdentity, pid: number, connection: ShimConnection) {
    this.id = id;
    this.shim = shim;
    this.pid = pid;
    this.#connection = connection;
  }

  /** Launches a shim, and creates without waiting for it to be adopted, as gantryd does. */
  static async create(
    place: NurseryPlace,
    id: string,
    args: readonly string[] = sleeper,
    stdout = '',
  ): Promise<LaunchedContainer> {
    const { process, connection, adopted } = await place.launch(id, args);
    const { bundle } = place.request(id);
    const [, { pid }] = await Promise.all([adopted, connection.call('create', { id, bundle, stdout })]);
    return new LaunchedContainer(id, process, pid, connection);
  }

  static async run(...given: Parameters<typeof LaunchedContainer.create>): Promise<LaunchedContainer> {
    const container = await LaunchedContainer.create(...given);
    await container.#connection.call('start', { id: container.id });
    return container;
  }

  async start(): Promise<void> {
    await this.#connection.call('start', { id: this.id });
  }

  /** Runs a program in the container to its end; resolves to its exit status. */
  async exec(execId: string, args: readonly string[]): Promise<number> {
    const { id } = this;
    const process = { args: ['/bin/busybox', ...args], cwd: '/', env: [], user: { uid: 0, gid: 0 } };
    const spec = { typeUrl: typeUrls.process, value: Buffer.from(JSON.stringify(process)) };
    await this.#connection.call('exec', { id, execId, spec });
    await this.#connection.call('start', { id, execId });
    const { exitStatus } = await this.#connection.call('wait', { id, execId });
    await this.#connection.call('delete', { id, execId });
    return exitStatus;
  }

  async state(): Promise<taskV3.StateResponse> {
    return await this.#connection.call('state', { id: this.id });
  }

  async kill(signal: number): Promise<void> {
    await this.#connection.call('kill', { id: this.id, signal });
  }

  async wait(): Promise<number> {
    return (await this.#connection.call('wait', { id: this.id }, { timeoutMs: 10_000 })).exitStatus;
  }

  /** Dials the shim where it listens since its adoption, as the next supervisor does. */
  async redial(place: NurseryPlace): Promise<void> {
    this.#connection.close();
    this.#connection = await ShimConnection.connect(place.request(this.id).socketPath, 2000);
    await this.#connection.call('connect', { id: this.id });
  }

  /** Lets go of the shim, which lives on. */
  leave(): void {
    this.#connection.close();
  }

  /** Deletes the task and ends the shim; resolves to the exit status when both are gone. */
  async remove(): Promise<number> {
    const { id } = this;
    const { exitStatus } = await this.#connection.call('delete', { id });
    await this.#connection.call('shutdown', { id }).catch(() => undefined); // it may be gone before its answer is
    await gone(this.shim);
    this.#connection.close();
    return exitStatus;
  }
}
