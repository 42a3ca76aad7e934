/** Namespaces: the first level of every name in the supervisor. */
import { namespaces } from '@gantry/api';
import { internal, isCode } from '@gantry/errors';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = namespaces.NamespacesService;

export class NamespacesClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Throws already exists. */
  async create(name: string, labels: Record<string, string> = {}, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.create, { namespace: { name, labels } }, options);
  }

  /** Sorted by name. */
  async list(options: CallOptions = {}): Promise<namespaces.Namespace[]> {
    const reply = await this.transport.unary(service, service.methods.list, {}, options);
    return reply.namespaces;
  }

  async get(name: string, options: CallOptions = {}): Promise<namespaces.Namespace> {
    const reply = await this.transport.unary(service, service.methods.get, { name }, options);
    if (reply.namespace === undefined) throw internal(`namespace "${name}": empty reply`);
    return reply.namespace;
  }

  /** The labels of a namespace that need not exist yet: containerd before 2.0 answers not found for such. */
  async labels(name: string, options: CallOptions = {}): Promise<Record<string, string>> {
    try {
      return (await this.get(name, options)).labels;
    } catch (err) {
      if (isCode(err, 'not found')) return {};
      throw err;
    }
  }

  /** Sets labels one by one; an empty value removes the label. */
  async setLabels(name: string, labels: Record<string, string>, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(
      service,
      service.methods.update,
      { namespace: { name, labels }, updateMask: { paths: Object.keys(labels).map((key) => `labels.${key}`) } },
      options,
    );
  }

  /** Throws failed precondition while the namespace holds anything. */
  async delete(name: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.delete, { name }, options);
  }
}
