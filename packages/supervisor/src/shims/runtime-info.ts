/** What a runtime says of itself: the `-info` of its shim, which is containerd.types.RuntimeInfo. */
import { types, wellKnown } from '@gantry/api';
import { wrap } from '@gantry/errors';
import type { Config } from '../config/config.ts';
import type { Timeouts } from '../timeouts.ts';
import { runAction } from './foreign/run-action.ts';
import { resolveRuntime } from './runtime-name.ts';
import { forkingFlags, shimEntry, shimEnvironment } from './shim-program.ts';

/** What is asked about when no runtime is named. */
const usualRuntime = 'io.containerd.runc.v2';

/** Throws, in containerd's words, when there is no such runtime, and what its shim complains of. */
export function runtimeInformant(
  { runtimes, state }: Pick<Config, 'runtimes' | 'state'>,
  timeouts: Pick<Timeouts, 'shimStartMs'>,
): (request: types.RuntimeRequest) => Promise<types.RuntimeInfo> {
  return async ({ runtimePath, options }) => {
    const runtime = resolveRuntime(runtimePath === '' ? usualRuntime : runtimePath, runtimes);
    const [binary, args] =
      runtime.kind === 'own' ? [process.execPath, [...forkingFlags, shimEntry()]] : [runtime.binary, []];
    const { stdout } = await runAction({
      binary,
      args: [...args, '-info'],
      cwd: state,
      env: shimEnvironment(),
      input: options === undefined ? new Uint8Array() : wellKnown.Any.encode(options),
      timeoutMs: timeouts.shimStartMs,
    });
    try {
      return types.RuntimeInfo.decode(stdout);
    } catch (err) {
      throw wrap(err, `${runtimePath} -info`);
    }
  };
}
