/** Every scenario, in the order in which a run goes through them. */
import { execScenario } from './exec.ts';
import { lifecycleScenario } from './lifecycle.ts';
import type { Scenario } from './scenario.ts';

export const scenarios: readonly Scenario[] = [lifecycleScenario, execScenario];
