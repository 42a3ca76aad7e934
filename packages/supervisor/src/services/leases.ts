/** containerd.services.leases.v1.Leases: what garbage collection must leave alone, and until when. */
import { randomBytes } from 'node:crypto';
import { checkLabels, leases, timestampNow } from '@gantry/api';
import { alreadyExists, invalidArgument, notFound, notImplemented } from '@gantry/errors';
import { isDigest } from '@gantry/oci';
import { addLeaseResource, keys, leaseResourceTypes, presentLabels, removeLeaseResource } from '@gantry/store';
import type { Reader, Store, Transaction } from '@gantry/store';
import { compileFilters, leaseAdaptor } from '../filters/index.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { ensureNamespace } from './namespace-records.ts';

export interface LeasesServiceComponents {
  readonly store: Store;
  readonly gc: Pick<GarbageCollector, 'schedule' | 'run'>;
}

export function leasesService({ store, gc }: LeasesServiceComponents): Binding {
  return bind(leases.LeasesService, {
    async create({ id: wanted, labels: given }, call) {
      const { namespace } = call;
      checkLabels(given);
      const id = wanted === '' ? randomLeaseId() : wanted;
      const lease = { id, createdAt: timestampNow(), labels: presentLabels(given) };
      await store.transact((tx) => {
        const key = keys.leases(namespace, id);
        if (tx.get(key) !== undefined) throw alreadyExists(`lease ${JSON.stringify(id)}`, { lease: id });
        ensureNamespace(tx, namespace);
        tx.put(key, leases.Lease.encode(lease));
      });
      return { lease };
    },

    async delete({ id, sync }, call) {
      const { namespace } = call;
      await store.transact((tx) => {
        mustExist(tx, namespace, id);
        deleteLease(tx, namespace, id);
      });
      if (sync) await gc.run();
      else gc.schedule();
      return {};
    },

    list: ({ filters }, call) => {
      const matches = compileFilters(filters);
      const found: leases.Lease[] = [];
      for (const { value } of store.scan(keys.leases(call.namespace))) {
        const lease = leases.Lease.decode(value);
        if (matches(leaseAdaptor(lease))) found.push(lease);
      }
      return { leases: found };
    },

    async addResource({ id, resource }, call) {
      const { namespace } = call;
      const { type, name } = checkedResource(resource);
      await store.transact((tx) => {
        mustExist(tx, namespace, id);
        addLeaseResource(tx, namespace, id, type, name);
      });
      return {};
    },

    async deleteResource({ id, resource }, call) {
      const { namespace } = call;
      const { type, name } = checkedResource(resource);
      await store.transact((tx) => {
        mustExist(tx, namespace, id);
        removeLeaseResource(tx, namespace, id, type, name);
      });
      gc.schedule();
      return {};
    },

    listResources: ({ id }, call) => {
      mustExist(store, call.namespace, id);
      const resources: leases.Resource[] = [];
      for (const { key } of store.scan(keys.leaseResources(call.namespace, id))) {
        const [, , , type = '', name = ''] = key;
        resources.push({ type, id: name });
      }
      return { resources };
    },
  });
}

/** Deletes a lease and what it lists, within a transaction. */
export function deleteLease(tx: Transaction, namespace: string, id: string): void {
  tx.delete(keys.leases(namespace, id));
  for (const { key } of tx.scan(keys.leaseResources(namespace, id))) tx.delete(key);
}

function mustExist(reader: Reader, namespace: string, id: string): void {
  if (id !== '' && reader.get(keys.leases(namespace, id)) !== undefined) return;
  throw notFound(`lease ${JSON.stringify(id)}`, { lease: id });
}

/** A resource of a type that leases can hold. Throws invalid argument, not implemented for another type. */
function checkedResource(resource: leases.Resource | undefined): { type: string; name: string } {
  const { type = '', id: name = '' } = resource ?? {};
  const [kind = '', ...rest] = type.split('/');
  switch (kind) {
    case 'snapshots':
      if (rest.length !== 1 || rest[0] === '') throw invalidArgument(`invalid snapshot resource type ${type}`);
      break;
    case leaseResourceTypes.content:
    case leaseResourceTypes.ingests:
    case leaseResourceTypes.images:
      if (rest.length > 0) throw invalidArgument(`invalid resource type ${type}`);
      break;
    default:
      throw notImplemented(`resource type ${type} not supported yet`);
  }
  if (kind === leaseResourceTypes.content && !isDigest(name)) {
    throw invalidArgument(`invalid content resource id ${name}: invalid checksum digest format`);
  }
  if (name === '') throw invalidArgument('lease resource id must not be empty');
  return { type, name };
}

/** Like those that containerd's clients make: the nanoseconds of the clock and four random characters. */
function randomLeaseId(): string {
  const { nanos } = timestampNow();
  return `${nanos}-${randomBytes(3).toString('base64url')}`;
}
