/** containerd.services.sandbox.v1.Store: the records of sandboxes; nothing here runs one. */
import { checkIdentifier, checkLabels, sandbox as wire, timestampNow, types } from '@gantry/api';
import { alreadyExists, invalidArgument, notFound, wrap } from '@gantry/errors';
import { keys, presentLabels } from '@gantry/store';
import type { Reader, Store } from '@gantry/store';
import { maskedRecord, parseMask } from '../field-mask.ts';
import { sandboxAdaptor } from '../filters/adaptors.ts';
import { compileFilters } from '../filters/index.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { ensureNamespace } from './namespace-records.ts';

export interface SandboxStoreComponents {
  readonly store: Store;
  readonly gc: Pick<GarbageCollector, 'schedule'>;
}

type Sandbox = types.Sandbox;

/** The controller of a record that names none. */
const defaultSandboxer = 'shim';

const maskFields = ['labels', 'extensions', 'spec', 'runtime'] as const;
const maskMaps = ['labels', 'extensions'] as const;
type MaskField = (typeof maskFields)[number];

const maskMembers = {
  labels: 'labels',
  extensions: 'extensions',
  spec: 'spec',
  runtime: 'runtime',
} as const satisfies Readonly<Record<MaskField, keyof Sandbox>>;

export function sandboxStoreService({ store, gc }: SandboxStoreComponents): Binding {
  return bind(wire.StoreService, {
    async create({ sandbox: given }, { namespace }) {
      const base = given ?? types.Sandbox.create();
      const at = timestampNow();
      const sandboxer = base.sandboxer === '' ? defaultSandboxer : base.sandboxer;
      const labels = presentLabels(base.labels);
      const sandbox = checked({ ...base, labels, sandboxer, createdAt: at, updatedAt: at });
      await store.transact((tx) => {
        const key = keys.sandboxes(namespace, sandbox.sandboxId);
        if (tx.get(key) !== undefined) throw alreadyExists(`sandbox ${JSON.stringify(sandbox.sandboxId)}`);
        ensureNamespace(tx, namespace);
        tx.put(key, types.Sandbox.encode(sandbox));
      });
      return { sandbox };
    },

    async update({ sandbox: change, fields }, { namespace }) {
      if (change === undefined || change.sandboxId === '') throw invalidArgument('sandbox id is required');
      const sandbox = await store.transact((tx) => {
        const updated = updatedSandbox(readSandbox(tx, namespace, change.sandboxId), change, fields);
        tx.put(keys.sandboxes(namespace, change.sandboxId), types.Sandbox.encode(updated));
        return updated;
      });
      return { sandbox };
    },

    async delete({ sandboxId }, { namespace }) {
      await store.transact((tx) => {
        readSandbox(tx, namespace, sandboxId);
        tx.delete(keys.sandboxes(namespace, sandboxId));
      });
      gc.schedule();
      return {};
    },

    list({ filters }, { namespace }) {
      const matches = compileFilters(filters);
      const all = [...store.scan(keys.sandboxes(namespace))].map(({ value }) => types.Sandbox.decode(value));
      return { list: all.filter((one) => matches(sandboxAdaptor(one))) };
    },

    get: ({ sandboxId }, { namespace }) => ({ sandbox: readSandbox(store, namespace, sandboxId) }),
  });
}

/** A sandbox's record. Throws not found. */
export function readSandbox(reader: Reader, namespace: string, id: string): Sandbox {
  const bytes = id === '' ? undefined : reader.get(keys.sandboxes(namespace, id));
  if (bytes === undefined) throw notFound(`sandbox ${JSON.stringify(id)}`, { sandbox: id });
  return types.Sandbox.decode(bytes);
}

/** The record after an update. Throws invalid argument for what cannot change or would not be valid. */
function updatedSandbox(old: Sandbox, change: Sandbox, paths: readonly string[]): Sandbox {
  const subject = `on ${JSON.stringify(old.sandboxId)}`;
  const mask = parseMask<MaskField>(paths, { fields: maskFields, maps: maskMaps, subject });
  if (mask.length === 0) mask.push(...maskFields.map((field) => ({ field, key: undefined })));
  if (mask.some(({ field }) => field === 'runtime') && change.runtime?.name !== old.runtime?.name)
    throw invalidArgument('sandbox.Runtime.Name field is immutable');
  const updated = maskedRecord(old, change, mask, maskMembers);
  return checked({ ...updated, labels: presentLabels(updated.labels), updatedAt: timestampNow() });
}

function checked(sandbox: Sandbox): Sandbox {
  checkIdentifier('sandbox', sandbox.sandboxId);
  if (Object.hasOwn(sandbox.extensions, '')) throw invalidArgument('sandbox.Extensions keys must not be zero-length');
  try {
    checkLabels(sandbox.labels);
  } catch (err) {
    throw wrap(err, 'sandbox.Labels');
  }
  return sandbox;
}
