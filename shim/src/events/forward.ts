/** The supervisor's event service on ttrpc: `containerd.services.events.ttrpc.v1.Events/Forward`. */
import { eventsTtrpc, namespaceHeaderTtrpc, timestampFromNs } from '@gantry/api/shim';
import { TtrpcClient } from '@gantry/ttrpc';
import type { EventConnection } from './event-queue.ts';

/** containerd's limit for one Forward call. */
const forwardTimeoutMs = 5000;
const connectTimeoutMs = 2000;

/**
 * Connects to the socket in TTRPC_ADDRESS. Rejects with unavailable while the supervisor is away.
 * The caller closes the connection.
 */
export async function connectToEvents(address: string, namespace: string): Promise<EventConnection> {
  const client = await TtrpcClient.connect(address, { timeoutMs: connectTimeoutMs });
  return {
    get closed() {
      return client.closed;
    },
    close: () => client.close(),
    forward: async (event) => {
      const { topic, typeUrl, value } = event;
      const timestamp = timestampFromNs(event.timestampNs);
      const envelope = { timestamp, namespace, topic, event: { typeUrl, value } };
      await client.call(eventsTtrpc.EventsService, 'forward', eventsTtrpc.ForwardRequest.create({ envelope }), {
        timeoutMs: forwardTimeoutMs,
        metadata: new Map([[namespaceHeaderTtrpc, namespace]]),
      });
    },
  };
}
