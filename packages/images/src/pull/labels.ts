/** The labels a pulled blob gets: what it refers to (for the collector), and where it came from (for mounts on push). */
import type { Descriptor } from '@gantry/oci';
import type { Labels } from '@gantry/store';

const referencePrefix = 'containerd.io/gc.ref.content';
const sourcePrefix = 'containerd.io/distribution.source';

/** Longest key and value together that the API takes. */
const maximumLabelLength = 4096;

/** An index refers to its manifests, also to those of other platforms that are not stored. */
export function indexReferences(manifests: readonly Descriptor[]): Labels {
  return numbered('m', manifests);
}

export function manifestReferences(config: Descriptor, layers: readonly Descriptor[]): Labels {
  return { [`${referencePrefix}.config`]: config.digest, ...numbered('l', layers) };
}

function numbered(letter: string, children: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries(children.map(({ digest }, index) => [`${referencePrefix}.${letter}.${index}`, digest]));
}

/** By host name without port, as containerd does; what of another port is tried in vain costs one request. */
function sourceKey(domain: string): string {
  return `${sourcePrefix}.${domain.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')}`;
}

/** `containerd.io/distribution.source.<host>` with one more repository; unchanged when there is no more room. */
export function withSource(existing: Labels, domain: string, path: string): Labels {
  const key = sourceKey(domain);
  const value = [...new Set([...sourcesIn(existing, domain), path])].sort().join(',');
  return key.length + value.length > maximumLabelLength ? {} : { [key]: value };
}

/** The repositories of a domain that a blob is known to be in. */
export function sourcesIn(labels: Labels, domain: string): string[] {
  return (labels[sourceKey(domain)] ?? '').split(',').filter((path) => path !== '');
}
