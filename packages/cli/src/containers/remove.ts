/** Removing a container together with what this command keeps about it. */
import type { Client, RemoveContainerOptions } from '@gantry/client';
import { removeLogFile } from './log-file.ts';

/** As the client's `removeContainer`, and its log file. */
export async function removeWithLog(client: Client, id: string, options: RemoveContainerOptions = {}): Promise<void> {
  const { labels } = await client.containers.get(id);
  await client.removeContainer(id, options);
  removeLogFile(labels);
}
