/** Who runs sandboxes: the shims (`shim`), or a controller in another process; by the name that requests call `sandboxer`. */
import type { sandbox as wire, types } from '@gantry/api';
import type { Call } from '../rpc/call.ts';
import type { NewSandbox } from './sandboxes.ts';

export interface SandboxController {
  readonly name: string;
  /** Whether it is in another process. */
  readonly isElsewhere: boolean;
  create(call: Call, sandbox: NewSandbox): Promise<void>;
  start(call: Call, id: string): Promise<Omit<wire.ControllerStartResponse, 'sandboxId'>>;
  platform(call: Call, id: string): Promise<types.Platform | undefined>;
  /** What is not there, or goes away meanwhile, is stopped. */
  stop(call: Call, id: string, timeoutSecs: number): Promise<void>;
  /** Resolves when the sandbox has ended. */
  wait(call: Call, id: string): Promise<wire.ControllerWaitResponse>;
  /** Of one that is not there: that it has ended, or not found. */
  status(call: Call, id: string, verbose: boolean): Promise<Omit<wire.ControllerStatusResponse, 'sandboxId'>>;
  shutdown(call: Call, id: string): Promise<void>;
  metrics(call: Call, id: string): Promise<types.Metric | undefined>;
  update(call: Call, id: string, change: types.Sandbox, fields: readonly string[]): Promise<void>;
}
