/** grpc.health.v1.Health: whoever gets an answer is served. Only the server as a whole has a status, under the name ''. */
import { once } from 'node:events';
import { health } from '@gantry/api';
import { notFound } from '@gantry/errors';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

const serving = { status: health.HealthCheckResponse_ServingStatus.SERVING };
const serviceUnknown = { status: health.HealthCheckResponse_ServingStatus.SERVICE_UNKNOWN };

export function healthService(): Binding {
  return bind(health.HealthService, {
    check: ({ service }) => {
      if (service !== '') throw notFound('unknown service', { service });
      return serving;
    },

    list: () => ({ statuses: { '': serving } }),

    /** The status does not change while there is a server to tell it. */
    async *watch({ service }, { signal }) {
      yield service === '' ? serving : serviceUnknown;
      if (!signal.aborted) await once(signal, 'abort');
    },
  });
}
