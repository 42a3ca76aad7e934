/** `-info`: what this runtime is, as `containerd.types.RuntimeInfo` on stdout. */
import { writeSync } from 'node:fs';
import { types } from '@gantry/api/shim';
import { version } from '../version.ts';

/** Returns the exit code. */
export function info(): number {
  const runtime = types.RuntimeInfo.create({
    name: 'io.containerd.gantry.v1',
    version: { version, revision: '' },
  });
  writeSync(1, types.RuntimeInfo.encode(runtime));
  return 0;
}
