/** The server's content as image archives see it. */
import type { ArchiveContent } from '@gantry/archive/images';
import type { ContentClient } from '../services/content.ts';
import type { CallOptions } from '../transport/call-options.ts';

/** `options` should carry a lease when something is to be written. */
export function archiveContent(
  content: Pick<ContentClient, 'info' | 'read' | 'readAll' | 'setLabels' | 'write'>,
  options: CallOptions,
): ArchiveContent {
  return {
    write: async (source, { ref, expected, size }) =>
      content.write(source, { ...options, ref, expected, sizeBytes: size }),
    sizeOf: async (digest) => (await content.info(digest, options)).size,
    read: (digest) => content.read(digest, options),
    readAll: async (digest, limitBytes) => content.readAll(digest, limitBytes, options),
    setLabels: async (digest, labels) => content.setLabels(digest, labels, options),
  };
}
