/** The content store as transfers see it, with the events that the Content service publishes. */
import { events } from '@gantry/api';
import { imageContent } from '@gantry/images';
import type { ImageContent } from '@gantry/images';
import type { TransferTools } from './transfers.ts';

/** `resumable`: what was written of a blob outlives the lease, for another attempt. */
export function transferContent(
  { content, events: publisher }: TransferTools,
  {
    namespace,
    lease,
    resumable = false,
  }: { readonly namespace: string; readonly lease: string; readonly resumable?: boolean },
): ImageContent {
  return imageContent({
    store: content,
    namespace,
    lease,
    resumable,
    onBlob: ({ digest, size }) =>
      publisher.publish(namespace, '/content/create', events.ContentCreate, { digest, size }),
  });
}
