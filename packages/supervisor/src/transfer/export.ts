/** Image store → archive. */
import type { transferTypes } from '@gantry/api';
import { writeImageArchive } from '@gantry/archive/images';
import { archiveContent } from './archive-content.ts';
import { sendBytes } from './byte-streams.ts';
import { transferContent } from './content.ts';
import { sourceImages } from './image-names.ts';
import { platformOf } from './platforms.ts';
import { targetOf } from './push.ts';
import type { TransferCall, TransferTools } from './transfers.ts';

export async function exportArchive(
  tools: TransferTools,
  call: TransferCall,
  store: transferTypes.ImageStore,
  destination: transferTypes.ImageExportStream,
): Promise<void> {
  const { namespace, signal, tell } = call;
  const stream = tools.streams.take(namespace, destination.stream);
  try {
    tell({ event: 'Exporting' });
    const images = sourceImages(tools.images, namespace, store);
    const { platforms, allPlatforms, skipCompatibilityManifest, skipNonDistributable } = destination;
    await tools.leases.with(
      { namespace, lease: call.lease, subject: `export ${destination.stream}` },
      async (lease) => {
        const content = archiveContent(transferContent(tools, { namespace, lease }), signal);
        const archived = images.map((image) => ({ name: image.name, target: targetOf(image) }));
        const archive = writeImageArchive(content, archived, {
          ...(allPlatforms
            ? { platforms: 'all' }
            : platforms.length > 0
              ? { platforms: platforms.map(platformOf) }
              : {}),
          skipDockerManifest: skipCompatibilityManifest,
          skipNonDistributable,
        });
        await sendBytes(stream, archive);
      },
    );
    tell({ event: 'Completed export' });
  } finally {
    stream.close();
  }
}
