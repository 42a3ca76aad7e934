/** Chain ids: the digest that names a layer together with all layers below it (image specification, "Layer ChainID"). */
import { digestOf } from './digest.ts';
import type { Digest } from './digest.ts';

/** The chain id of every prefix of the layers, lowest first: the last one names the whole root file system. */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chain;
}
