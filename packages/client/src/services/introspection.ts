/** What the server is made of. */
import { introspection } from '@gantry/api';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = introspection.IntrospectionService;

export class IntrospectionClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Uuid, pid and deprecations of the server; containerd before 1.7 knows the uuid only. */
  server(options: CallOptions = {}): Promise<introspection.ServerResponse> {
    return this.transport.unary(service, service.methods.server, {}, options);
  }

  /** Plugins that match any of the filters, e.g. `type==io.containerd.snapshotter.v1`. */
  async plugins(filters: readonly string[] = [], options: CallOptions = {}): Promise<introspection.Plugin[]> {
    const reply = await this.transport.unary(service, service.methods.plugins, { filters: [...filters] }, options);
    return reply.plugins;
  }
}
