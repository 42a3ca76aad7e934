/** Archive → image store: every file becomes a blob under a lease, images are unpacked, then named. */
import type { transferTypes } from '@gantry/api';
import { readImageArchive } from '@gantry/archive/images';
import { failpoint, invalidArgument } from '@gantry/errors';
import { storedImage } from '@gantry/images';
import { digestOf, hostPlatform, isIndexType, matchPlatform, mediaTypes } from '@gantry/oci';
import type { Descriptor, Platform } from '@gantry/oci';
import { archiveContent, packLayer } from './archive-content.ts';
import { receiveBytes } from './byte-streams.ts';
import { transferContent } from './content.ts';
import { archivedRecords, ownRecords } from './image-names.ts';
import { platformOf } from './platforms.ts';
import type { TransferCall, TransferTools } from './transfers.ts';
import { unpackFor } from './unpack.ts';

export async function importArchive(
  tools: TransferTools,
  call: TransferCall,
  source: transferTypes.ImageImportStream,
  store: transferTypes.ImageStore,
): Promise<void> {
  const { namespace, signal, tell } = call;
  const stream = tools.streams.take(namespace, source.stream);
  try {
    tell({ event: 'Importing' });
    await tools.leases.with({ namespace, lease: call.lease, subject: `import ${source.stream}` }, async (lease) => {
      const content = transferContent(tools, { namespace, lease });
      const blobs = archiveContent(content, signal);
      const platforms = store.platforms.map(platformOf);
      const archive = await readImageArchive(blobs, receiveBytes(stream), {
        wanted: (entry) => isFor(platforms, entry),
        ...(source.forceCompress ? { pack: async (layer) => packLayer(blobs, layer) } : {}),
      });
      await failpoint('transfer.import.after-content');
      const images = archive.images.filter((entry) => isFor(platforms, entry));
      const records = images.flatMap((image) => archivedRecords(store, image));
      const indexRecords = ownRecords(store, indexOf(archive.index));
      if (records.length + indexRecords.length === 0) {
        throw invalidArgument('nothing names the images of the archive: ask for names by digest, or for an index name');
      }
      if (indexRecords.length > 0) {
        const { digest, size } = indexOf(archive.index);
        await blobs.write([archive.index], { ref: `index-${digest}`, expected: digest, size: BigInt(size) });
        const manifests = images.map((image, n) => [`containerd.io/gc.ref.content.m.${n}`, image.digest]);
        await blobs.setLabels(digest, Object.fromEntries(manifests));
      }
      for (const image of images) {
        for (const request of store.unpacks) {
          const platform = request.platform === undefined ? hostPlatform() : platformOf(request.platform);
          if (image.platform !== undefined && matchPlatform(platform, image.platform) === undefined) continue;
          const stored = await storedImage(content, image, platform);
          await unpackFor(tools, { namespace, lease, tell, name: records[0]?.name ?? '' }, [request], stored, signal);
        }
      }
      await failpoint('transfer.import.after-unpack');
      for (const record of [...records, ...indexRecords]) {
        const { name } = await tools.images.put(namespace, record, { lease });
        tell({ event: 'saved', name, ...(record.target === undefined ? {} : { desc: record.target }) });
      }
      await failpoint('transfer.import.after-record');
    });
    tell({ event: 'Completed import' });
  } finally {
    stream.close();
  }
}

/** What does not say its platform may be for any; an index is looked into. */
function isFor(platforms: readonly Platform[], { platform, mediaType }: Descriptor): boolean {
  if (platforms.length === 0 || platform === undefined || isIndexType(mediaType)) return true;
  return platforms.some((wanted) => matchPlatform(wanted, platform) !== undefined);
}

function indexOf(bytes: Buffer): Descriptor {
  return { mediaType: mediaTypes.index, digest: digestOf(bytes), size: bytes.length };
}
