/** containerd's rules for labels. */
import { invalidArgument } from '@gantry/errors';

const maxLabelBytes = 4096;

/** How much of a long key is repeated in the error. */
const maxShownKeyLength = 64;

/** Prefixes of labels that mean something to containerd and Kubernetes: never taken from an image's own configuration. */
export const reservedLabelPrefixes: readonly string[] = [
  'containerd.io/',
  'io.containerd.',
  'io.cri-containerd',
  'io.kubernetes.cri',
  'io.gantry/',
];

/** Checks that no key and its value are longer than 4096 bytes together. Throws invalid argument. */
export function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) checkLabel(key, value);
}

export function checkLabel(key: string, value: string): void {
  const sizeBytes = Buffer.byteLength(key) + Buffer.byteLength(value);
  if (sizeBytes <= maxLabelBytes) return;
  const shown = key.slice(0, maxShownKeyLength);
  throw invalidArgument(
    `label key and value length (${sizeBytes} bytes) greater than maximum size (${maxLabelBytes} bytes), key: ${shown}`,
  );
}

/** Whether a label with this key may only be set by a client of the API. */
export function isReservedLabel(key: string): boolean {
  return reservedLabelPrefixes.some((prefix) => key.startsWith(prefix));
}
