/** A transfer done by the server, with its news and its questions for credentials (Transfer service). */
import { packAny, transfer, transferTypes, unpackAny } from '@gantry/api';
import type { MessageType, PartialMessage, wellKnown } from '@gantry/api';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';
import { eachMessage, TransferStream } from './streams.ts';

const service = transfer.TransferService;

/** One piece of news. Names are `layer-sha256:…` and the like; `parents` are the names above it. */
export interface TransferProgress {
  /** `downloading`, `extracting`, `complete`, … */
  readonly event: string;
  readonly name: string;
  readonly parents: readonly string[];
  /** Bytes. */
  readonly progress: bigint;
  /** 0 when unknown. */
  readonly total: bigint;
  readonly digest: string;
  readonly mediaType: string;
}

export interface TransferOptions extends CallOptions {
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined;
}

/** One end of a transfer. */
export function transferEnd<T>(type: MessageType<T>, value: PartialMessage<T>): wellKnown.Any {
  return packAny(type, value);
}

/**
 * Resolves when the server is done and all its news have been told. Not implemented by servers without the service, and
 * for ends that the server cannot join.
 */
export async function runTransfer(
  transport: Transport,
  source: wellKnown.Any,
  destination: wellKnown.Any,
  { onProgress, ...options }: TransferOptions,
): Promise<void> {
  const news = onProgress === undefined ? undefined : await TransferStream.open(transport, 'progress', options);
  try {
    const told =
      news &&
      eachMessage(news, (message) => {
        const { event, name, parents, progress, total, desc } = unpackAny(transferTypes.Progress, message);
        const { digest = '', mediaType = '' } = desc ?? {};
        onProgress?.({ event, name, parents, progress, total, digest, mediaType });
      });
    const request = { source, destination, options: { progressStream: news?.id ?? '' } };
    try {
      await transport.unary(service, service.methods.transfer, request, { timeoutMs: 0, ...options });
    } catch (err) {
      news?.close();
      throw err;
    } finally {
      await told;
    }
  } finally {
    news?.close();
  }
}
