/** Image store → registry. */
import { failedPrecondition, failpoint } from '@gantry/errors';
import type { transferTypes } from '@gantry/api';
import { Limiter, pushImage } from '@gantry/images';
import { parseDigest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import type { Image } from '../images/image-records.ts';
import { transferContent } from './content.ts';
import { sourceImages } from './image-names.ts';
import { platformOf } from './platforms.ts';
import { blobProgress, wireDescriptor } from './progress.ts';
import { registryClient } from './registry-client.ts';
import type { TransferCall, TransferTools } from './transfers.ts';

export async function push(
  tools: TransferTools,
  call: TransferCall,
  store: transferTypes.ImageStore,
  destination: transferTypes.OCIRegistry,
): Promise<void> {
  const { namespace, signal, tell } = call;
  const { reference } = destination;
  const [image, ...more] = sourceImages(tools.images, namespace, store);
  if (image === undefined || more.length > 0) throw failedPrecondition('a push is of one image');
  const [platform, ...further] = store.platforms;
  if (further.length > 0) throw failedPrecondition('a push is of one platform or of all');
  tell({ event: `Pushing to OCI Registry (${reference})` });
  const { name } = image;
  const desc = wireDescriptor(targetOf(image));
  tell({ event: 'pushing content', name, desc });
  const resolver = registryClient(tools, namespace, destination);
  await tools.leases.with({ namespace, lease: call.lease, subject: `push ${reference}` }, async (lease) => {
    const content = transferContent(tools, { namespace, lease });
    await pushImage(
      { resolver, content, blobSlots: new Limiter(tools.concurrentUploads) },
      reference,
      targetOf(image),
      {
        signal,
        ...(platform === undefined ? {} : { platform: platformOf(platform) }),
        onProgress: (progress) => tell(blobProgress('push', name, progress)),
      },
    );
    await failpoint('transfer.push.after-manifest');
  });
  tell({ event: 'pushed content', name, desc });
  tell({ event: `Completed push to OCI Registry (${reference})`, desc });
}

/** What an image's record points to. */
export function targetOf({ name, target }: Image): Descriptor {
  if (target === undefined) throw failedPrecondition(`image ${JSON.stringify(name)} has no target`);
  const { mediaType, digest, size, annotations } = target;
  return { mediaType, digest: parseDigest(digest), size: Number(size), annotations };
}
