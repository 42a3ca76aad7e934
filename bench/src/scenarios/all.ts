/** Every scenario, in the order in which a run goes through them. */
import { densityScenario } from './density.ts';
import { execScenario } from './exec.ts';
import { imagesScenario } from './images.ts';
import { lifecycleScenario } from './lifecycle.ts';
import { restartScenario } from './restart.ts';
import { rpcScenario } from './rpc.ts';
import { runtimeScenario } from './runtime.ts';
import type { Scenario } from './scenario.ts';
import { stdoutScenario } from './stdout.ts';

export const scenarios: readonly Scenario[] = [
  lifecycleScenario,
  execScenario,
  densityScenario,
  restartScenario,
  runtimeScenario,
  rpcScenario,
  stdoutScenario,
  imagesScenario,
];
