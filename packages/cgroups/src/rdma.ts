/** RDMA handles and objects a device. The file has the same name in v1 and v2. */
import { invalidArgument } from '@gantry/errors';
import type { LinuxRdma } from '@gantry/oci';
import { writeLimit } from './group-file.ts';

export function writeRdma(directory: string, limits: Readonly<Record<string, LinuxRdma>>): void {
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(limits)) {
    const field = `linux.resources.rdma[${JSON.stringify(device)}]`;
    if (device === '' || /\s/.test(device)) throw invalidArgument(`${field}: not a device name`);
    const handles = hcaHandles === undefined ? '' : ` hca_handle=${hcaHandles}`;
    const objects = hcaObjects === undefined ? '' : ` hca_object=${hcaObjects}`;
    if (handles !== '' || objects !== '') writeLimit(directory, 'rdma.max', `${device}${handles}${objects}`, field);
  }
}
