/** A repository and the hosts that serve it, and asking them one after another. */
import { codeOf, GantryError, isCode, messageOf } from '@gantry/errors';
import type { Reference } from '@gantry/oci';
import type { HostCapability } from '../hosts/registry-host.ts';
import type { HostClient } from './host-client.ts';

export interface Repository {
  readonly reference: Reference;
  /** In the order they are tried; the registry itself is last. */
  readonly hosts: readonly HostClient[];
}

/** A host's turn. */
export interface Turn {
  readonly host: HostClient;
  /** False as long as somebody else can be asked: then one attempt is enough. */
  readonly retry: boolean;
}

/** The hosts with a capability, without those to be avoided as long as there are others. */
export function capableHosts(
  { hosts }: Repository,
  capability: HostCapability,
  avoid: ReadonlySet<string> = new Set(),
): HostClient[] {
  const capable = hosts.filter(({ host }) => host.capabilities.has(capability));
  const preferred = capable.filter(({ name }) => !avoid.has(name));
  return preferred.length > 0 ? preferred : capable;
}

/**
 * The first success. When all fail the error is the last host's, who knows best, with what the mirrors said behind it.
 * Cancelling ends the round. Throws failed precondition when no host has the capability.
 */
export async function askHosts<T>(
  repository: Repository,
  capability: HostCapability,
  ask: (turn: Turn) => Promise<T>,
  avoid?: ReadonlySet<string>,
): Promise<T> {
  const hosts = capableHosts(repository, capability, avoid);
  const refusals: { readonly name: string; readonly err: unknown }[] = [];
  for (const [index, host] of hosts.entries()) {
    try {
      return await ask({ host, retry: index === hosts.length - 1 });
    } catch (err) {
      if (isCode(err, 'cancelled')) throw err;
      refusals.push({ name: host.name, err });
    }
  }
  const last = refusals.pop();
  if (last === undefined) {
    throw new GantryError(
      'failed precondition',
      `no host of ${repository.reference.domain} may ${capability}: see its hosts.toml`,
    );
  }
  if (refusals.length === 0) throw last.err;
  const before = refusals.map(({ name, err }) => `${name}: ${messageOf(err)}`).join('; ');
  const details = last.err instanceof GantryError ? last.err.details : {};
  throw new GantryError(codeOf(last.err), `${messageOf(last.err)} (before that ${before})`, {
    cause: last.err,
    details,
  });
}
