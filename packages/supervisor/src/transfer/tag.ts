/** Image store → image store: further names for an image. */
import type { transferTypes } from '@gantry/api';
import { failedPrecondition } from '@gantry/errors';
import { ownRecords, sourceImages } from './image-names.ts';
import { targetOf } from './push.ts';
import type { TransferCall, TransferTools } from './transfers.ts';

export async function tag(
  { images }: TransferTools,
  { namespace, lease, tell }: TransferCall,
  source: transferTypes.ImageStore,
  destination: transferTypes.ImageStore,
): Promise<void> {
  const [image, ...more] = sourceImages(images, namespace, source);
  if (image === undefined || more.length > 0) throw failedPrecondition('tagging is of one image');
  const records = ownRecords(destination, targetOf(image));
  if (records.length === 0) throw failedPrecondition('tagging: the destination names no image');
  for (const record of records) {
    const { name } = await images.put(namespace, record, { lease });
    tell({ event: 'saved', name });
  }
}
