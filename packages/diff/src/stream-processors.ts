/**
 * Stream processors: programs that make layers of other media types readable (a decoder of encrypted ones, say), by containerd's
 * contract: the blob on standard input, what it `returns` on standard output, `STREAM_PROCESSOR_MEDIATYPE` in the environment, and,
 * when the caller sent one for it, an encoded google.protobuf.Any on descriptor 3.
 *
 *     blob ─► processor that accepts its type ─► processor that accepts what that returns ─► … ─► gzip, zstd, plain ─► tar
 */
import { throughCommand } from '@gantry/archive';
import { failedPrecondition, unknown } from '@gantry/errors';
import type { StreamProcessor } from './differ-types.ts';

/** Longer chains than this are a circle. */
const maxSteps = 16;

export interface ProcessorChain {
  readonly steps: readonly { readonly processor: StreamProcessor; readonly mediaType: string }[];
  /** What comes out of the last one. */
  readonly mediaType: string;
}

/**
 * Who works on a layer of this type, one after the other; nobody on most. A processor that accepts a type comes before what we
 * know of it ourselves, until one returns `plainType`. Throws failed precondition for processors that go round in a circle.
 */
export function chainOf(mediaType: string, processors: readonly StreamProcessor[], plainType: string): ProcessorChain {
  const steps: { readonly processor: StreamProcessor; readonly mediaType: string }[] = [];
  let type = mediaType;
  while (steps.length === 0 || type !== plainType) {
    const processor = processors.find(({ accepts }) => accepts.includes(type));
    if (processor === undefined) break;
    if (steps.length === maxSteps) {
      throw failedPrecondition(`stream processors for ${JSON.stringify(mediaType)} go round in a circle`);
    }
    steps.push({ processor, mediaType: type });
    type = processor.returns;
  }
  return { steps, mediaType: type };
}

/** The bytes as the last of the chain gives them. Throws unknown with what a processor says when it fails. */
export function throughProcessors(
  source: AsyncIterable<Uint8Array>,
  { steps }: ProcessorChain,
  payloads: Readonly<Record<string, Uint8Array>>,
): AsyncIterable<Uint8Array> {
  let bytes = source;
  for (const { processor, mediaType } of steps) {
    const { name, path, args, env } = processor;
    bytes = throughCommand(bytes, {
      // It ends with the worker, also when it does nothing but wait.
      file: 'setpriv',
      args: ['--pdeathsig', 'KILL', '--', path, ...args],
      env: { ...env, STREAM_PROCESSOR_MEDIATYPE: mediaType },
      payload: payloads[name],
      failure: (outcome, complaint) => {
        const how =
          outcome instanceof Error
            ? outcome.message
            : typeof outcome === 'number'
              ? `exit status ${outcome}`
              : `signal ${outcome}`;
        const said = complaint.replace(/^setpriv: /, '');
        return unknown(`stream processor ${name} ended by ${how}${said === '' ? '' : `: ${said}`}`);
      },
    });
  }
  return bytes;
}
