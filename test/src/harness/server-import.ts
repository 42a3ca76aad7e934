/** An archive that gantryd reads itself, as a ctr of containerd 2 has it done: the Transfer service at the end of a stream. */
import { runTransfer, TransferStream, transferEnd } from '@gantry/client';
import type { Client } from '@gantry/client';
import { transferTypes } from '@gantry/api';

/** Imports and unpacks an archive; images without a name of their own are called `imported`. */
export async function importByServer(
  client: Client,
  archive: AsyncIterable<Uint8Array>,
  snapshotter = '',
): Promise<void> {
  const stream = await TransferStream.open(client.transport, 'import', {});
  try {
    const source = transferEnd(transferTypes.ImageImportStream, { stream: stream.id });
    const store = transferEnd(transferTypes.ImageStore, {
      extraReferences: [{ name: 'imported', isPrefix: true, allowOverwrite: true }],
      unpacks: [{ platform: undefined, snapshotter }],
    });
    const done = runTransfer(client.transport, source, store, {});
    await Promise.all([done, stream.sendBytes(archive).catch(() => undefined)]);
  } finally {
    stream.close();
  }
}
