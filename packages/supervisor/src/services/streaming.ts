/** containerd.services.streaming.v1.Streaming: opens streams that other calls use (streams/streams.ts). */
import { isAny, packAny, streaming, unpackAny, wellKnown } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { OpenStream } from '../streams/streams.ts';
import type { Streams } from '../streams/streams.ts';

export function streamingService({ streams }: { readonly streams: Streams }): Binding {
  return bind(streaming.StreamingService, {
    async *stream(requests, call) {
      const { namespace, signal } = call;
      const incoming = requests[Symbol.asyncIterator]();
      const first = await incoming.next();
      if (first.done === true) return;
      if (!isAny(streaming.StreamInit, first.value)) {
        throw invalidArgument(`a stream begins with a StreamInit, not with ${JSON.stringify(first.value.typeUrl)}`);
      }
      const { id } = unpackAny(streaming.StreamInit, first.value);
      const stream = new OpenStream(incoming, signal);
      streams.add(namespace, id, stream);
      try {
        yield packAny(wellKnown.Empty, {});
        yield* stream.outgoing();
      } finally {
        stream.close();
        streams.remove(namespace, id);
      }
    },
  });
}
