/** rdma.current and rdma.max, which are alike in v1 and v2: `device hca_handle=N|max hca_object=N|max` a line. */
import { readGroupFile } from './group-file.ts';
import type { RdmaEntryV1, RdmaStatV1 } from './metrics-v1.ts';

const maximumUint32 = 2 ** 32 - 1;

export function readRdma(directory: string): RdmaStatV1 {
  return {
    current: parseRdma(readGroupFile(directory, 'rdma.current') ?? ''),
    limit: parseRdma(readGroupFile(directory, 'rdma.max') ?? ''),
  };
}

/** `max` is the largest 32-bit number. */
export function parseRdma(text: string): RdmaEntryV1[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\S+) hca_handle=(\d+|max) hca_object=(\d+|max)$/.exec(line);
    if (match === null) return [];
    const [, device = '', handles = '0', objects = '0'] = match;
    const count = (word: string) => (word === 'max' ? maximumUint32 : Math.min(Number(word), maximumUint32));
    return { device, hcaHandles: count(handles), hcaObjects: count(objects) };
  });
}
