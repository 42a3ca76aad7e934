/** containerd.services.namespaces.v1.Namespaces: the namespaces and their labels. */
import { checkIdentifier, checkLabels, events, namespaces } from '@gantry/api';
import { alreadyExists, failedPrecondition, notFound } from '@gantry/errors';
import { keys, presentLabels } from '@gantry/store';
import type { Key, Store, Transaction } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { maskedEntries, parseMask } from '../field-mask.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import {
  namespaceContents,
  namespaceExists,
  namespaceLabels,
  namespaceNames,
  putNamespace,
} from './namespace-records.ts';

export interface NamespacesServiceComponents {
  readonly store: Store;
  readonly events: Publisher;
}

export function namespacesService({ store, events: publisher }: NamespacesServiceComponents): Binding {
  return bind(namespaces.NamespacesService, {
    /** Also answers for a namespace that does not exist: clients ask for its default runtime before they use it. */
    get: ({ name }) => ({ namespace: { name, labels: namespaceLabels(store, name) } }),

    list: () => ({
      namespaces: namespaceNames(store).map((name) => ({ name, labels: namespaceLabels(store, name) })),
    }),

    async create({ namespace }) {
      const { name = '', labels: given = {} } = namespace ?? {};
      checkIdentifier('', name);
      checkLabels(given);
      const labels = presentLabels(given);
      await store.transact((tx) => {
        if (namespaceExists(tx, name)) throw alreadyExists(`namespace ${JSON.stringify(name)}`, { namespace: name });
        putNamespace(tx, name, labels);
      });
      publisher.publish(name, '/namespaces/create', events.NamespaceCreate, { name, labels });
      return { namespace: { name, labels } };
    },

    async update({ namespace, updateMask }) {
      const { name = '', labels: given = {} } = namespace ?? {};
      checkIdentifier('', name);
      checkLabels(given);
      const mask = parseMask(updateMask?.paths ?? [], { fields: [], maps: ['labels'], subject: '' });
      const labels = await store.transact((tx) => {
        let updated = mask.length === 0 ? given : namespaceLabels(tx, name);
        for (const { key } of mask) updated = maskedEntries(updated, given, key);
        updated = presentLabels(updated);
        putNamespace(tx, name, updated);
        return updated;
      });
      publisher.publish(name, '/namespaces/update', events.NamespaceUpdate, { name, labels });
      return { namespace: { name, labels } };
    },

    async delete({ name }) {
      await store.transact((tx) => {
        if (!namespaceExists(tx, name)) throw notFound(`namespace ${JSON.stringify(name)}`, { namespace: name });
        const contents = namespaceContents(tx, name);
        if (contents.length > 0) {
          const left = contents.join(', ');
          throw failedPrecondition(`namespace ${JSON.stringify(name)} must be empty, but it still has ${left}`, {
            namespace: name,
          });
        }
        tx.delete(keys.namespaces(name));
        deleteBelow(tx, keys.leases(name));
        deleteBelow(tx, keys.leaseResources(name));
      });
      publisher.publish(name, '/namespaces/delete', events.NamespaceDelete, { name });
      return {};
    },
  });
}

function deleteBelow(tx: Transaction, prefix: Key): void {
  for (const { key } of tx.scan(prefix)) tx.delete(key);
}
