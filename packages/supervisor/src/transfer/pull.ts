/** Registry → image store: everything is fetched under a lease, unpacked while it comes, and named at the end. */
import type { transferTypes } from '@gantry/api';
import { failpoint, notFound } from '@gantry/errors';
import { Limiter, pullImage } from '@gantry/images';
import type { ArrivingImage } from '@gantry/images';
import { transferContent } from './content.ts';
import { verifyImage } from './image-verifiers.ts';
import { ownRecords } from './image-names.ts';
import { platformOf } from './platforms.ts';
import { blobProgress } from './progress.ts';
import { registryClient } from './registry-client.ts';
import type { TransferCall, TransferTools } from './transfers.ts';
import { unpackFor } from './unpack.ts';

export async function pull(
  tools: TransferTools,
  call: TransferCall,
  source: transferTypes.OCIRegistry,
  store: transferTypes.ImageStore,
): Promise<void> {
  const { namespace, signal, tell } = call;
  const { reference } = source;
  tell({ event: `Resolving from OCI Registry (${reference})` });
  const name = store.name === '' ? reference : store.name;
  if (store.name === '' && store.extraReferences.every(({ isPrefix }) => isPrefix)) {
    throw notFound('image name in the destination of the pull');
  }
  const resolver = registryClient(tools, namespace, source);
  await tools.leases.with({ namespace, lease: call.lease, subject: `pull ${reference}` }, async (lease) => {
    const content = transferContent(tools, { namespace, lease, resumable: true });
    const pulled = await pullImage(
      { resolver, content, turns: tools.turns, layerSlots: new Limiter(tools.concurrentDownloads) },
      reference,
      {
        platforms: store.platforms.length === 0 ? 'all' : store.platforms.map(platformOf),
        allMetadata: store.allMetadata,
        manifestLimit: store.manifestLimit,
        signal,
        onResolved: async (target) => {
          await verifyImage(tools.verifiers, reference, target, signal);
          tell({ event: `Pulling from OCI Registry (${reference})` });
          tell({ event: 'fetching image content', name });
        },
        onProgress: (progress) => tell(blobProgress('pull', name, progress)),
        ...(store.unpacks.length === 0
          ? {}
          : {
              onImage: async (image: ArrivingImage, aborted: AbortSignal) =>
                unpackFor(tools, { namespace, lease, tell, name }, store.unpacks, image, aborted),
            }),
      },
    );
    await failpoint('transfer.pull.after-content');
    for (const record of ownRecords(store, pulled.target)) {
      const image = await tools.images.put(namespace, record, { lease });
      tell({ event: 'saved', name: image.name });
    }
    await failpoint('transfer.pull.after-record');
  });
  tell({ event: `Completed pull from OCI Registry (${reference})` });
}
