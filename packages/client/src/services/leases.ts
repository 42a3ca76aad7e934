/** Leases: what keeps garbage collection away from work under way. */
import { randomBytes } from 'node:crypto';
import { leases } from '@gantry/api';
import { internal, isCode } from '@gantry/errors';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = leases.LeasesService;

/** The label after whose time a lease no longer counts. */
export const expireLabel = 'containerd.io/gc.expire';

const defaultExpiryMs = 24 * 60 * 60 * 1000;

export interface CreateLeaseOptions extends CallOptions {
  /** Empty or absent: a random one. */
  readonly id?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** After this time the lease is ignored even when its client died. Default 24 hours; 0 for never. */
  readonly expiresInMs?: number | undefined;
}

/**
 * A lease as a resource: `await using lease = await client.leases.with()`. Deleting it releases what it held;
 * disposing never throws for a lease that is already gone.
 */
export class Lease implements AsyncDisposable {
  readonly id: string;
  private readonly owner: LeasesClient;

  constructor(owner: LeasesClient, id: string) {
    this.owner = owner;
    this.id = id;
  }

  /** The call options that put what a call creates under this lease. */
  options(base: CallOptions = {}): CallOptions {
    return { ...base, lease: this.id };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.owner.delete(this.id);
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  }
}

export class LeasesClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  async create(options: CreateLeaseOptions = {}): Promise<leases.Lease> {
    const expiresInMs = options.expiresInMs ?? defaultExpiryMs;
    const labels: Record<string, string> = { ...options.labels };
    if (expiresInMs > 0) labels[expireLabel] ??= new Date(Date.now() + expiresInMs).toISOString();
    const id = options.id ?? `${Date.now()}-${randomBytes(6).toString('hex')}`;
    const reply = await this.transport.unary(service, service.methods.create, { id, labels }, options);
    if (reply.lease === undefined) throw internal('lease: empty reply');
    return reply.lease;
  }

  /** Creates a lease that ends with the caller's block; it expires by itself when the process dies. */
  async with(options: CreateLeaseOptions = {}): Promise<Lease> {
    return new Lease(this, (await this.create(options)).id);
  }

  async list(filters: readonly string[] = [], options: CallOptions = {}): Promise<leases.Lease[]> {
    const reply = await this.transport.unary(service, service.methods.list, { filters: [...filters] }, options);
    return reply.leases;
  }

  async resources(id: string, options: CallOptions = {}): Promise<leases.Resource[]> {
    const reply = await this.transport.unary(service, service.methods.listResources, { id }, options);
    return reply.resources;
  }

  /** `type` is `content`, `ingests`, `images` or `snapshots/<snapshotter>`. */
  async addResource(
    id: string,
    resource: { readonly id: string; readonly type: string },
    options: CallOptions = {},
  ): Promise<void> {
    await this.transport.unary(service, service.methods.addResource, { id, resource }, options);
  }

  /** What only the lease held is collected then. Throws not found (lease). */
  async removeResource(
    id: string,
    resource: { readonly id: string; readonly type: string },
    options: CallOptions = {},
  ): Promise<void> {
    await this.transport.unary(service, service.methods.deleteResource, { id, resource }, options);
  }

  /** With `sync` the reply waits for a garbage collection. Throws not found. */
  async delete(id: string, options: CallOptions & { readonly sync?: boolean } = {}): Promise<void> {
    await this.transport.unary(service, service.methods.delete, { id, sync: options.sync ?? false }, options);
  }
}
