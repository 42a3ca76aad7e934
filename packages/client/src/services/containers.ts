/** Container records: metadata only, nothing runs because of one. */
import { containers } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { internal } from '@gantry/errors';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = containers.ContainersService;

/** A container as it is stored. */
export type ContainerRecord = containers.Container;

export class ContainersClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Stores the record as given; `createContainer` of the client makes one from an image. Throws already exists. */
  async create(
    container: PartialMessage<containers.Container>,
    options: CallOptions = {},
  ): Promise<containers.Container> {
    const reply = await this.transport.unary(service, service.methods.create, { container }, options);
    return present(reply.container, container.id ?? '');
  }

  /** In the order of their ids. Filters such as `labels.team==a` are or-ed. */
  async list(filters: readonly string[] = [], options: CallOptions = {}): Promise<containers.Container[]> {
    const reply = await this.transport.unary(service, service.methods.list, { filters: [...filters] }, options);
    return reply.containers;
  }

  /** Throws not found. */
  async get(id: string, options: CallOptions = {}): Promise<containers.Container> {
    const reply = await this.transport.unary(service, service.methods.get, { id }, options);
    return present(reply.container, id);
  }

  /** Replaces what `paths` name (`labels.x`, `spec`, `extensions.x`, `image`, `snapshotkey`); the rest stays. */
  async update(
    container: PartialMessage<containers.Container> & { id: string },
    paths: readonly string[],
    options: CallOptions = {},
  ): Promise<containers.Container> {
    const request = { container, updateMask: { paths: [...paths] } };
    const reply = await this.transport.unary(service, service.methods.update, request, options);
    return present(reply.container, container.id);
  }

  /** Throws not found. Does not look at a task or a snapshot; `removeContainer` of the client does. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.delete, { id }, options);
  }
}

function present(container: containers.Container | undefined, id: string): containers.Container {
  if (container === undefined) throw internal(`container "${id}": empty reply`);
  return container;
}
