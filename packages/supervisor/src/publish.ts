/**
 * `gantryd publish`: with it a shim of the oldest kind tells its events, one process an event.
 *
 *   gantryd --address SOCK publish --topic TOPIC --namespace NS < the event as google.protobuf.Any
 */
import { buffer } from 'node:stream/consumers';
import { eventsTtrpc, timestampNow, wellKnown } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import { TtrpcClient } from '@gantry/ttrpc';

const timeoutMs = 5000;

/** Throws what the supervisor on `address` says to the event, unavailable when there is none. */
export async function publish(
  address: string,
  topic: string | undefined,
  namespace: string | undefined,
): Promise<void> {
  if (topic === undefined || namespace === undefined) throw invalidArgument('publish needs --topic and --namespace');
  const event = wellKnown.Any.decode(await buffer(process.stdin));
  const client = await TtrpcClient.connect(`${address}.ttrpc`, { timeoutMs });
  try {
    const envelope = { timestamp: timestampNow(), namespace, topic, event };
    await client.call(eventsTtrpc.EventsService, 'forward', { envelope }, { timeoutMs });
  } finally {
    client.close();
  }
}
