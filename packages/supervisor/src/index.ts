export { startSupervisor } from './embedded.ts';
export type { EmbeddedSupervisor, SupervisorOptions } from './embedded.ts';
export type { LogLevel } from './config/config.ts';
export { bind } from './rpc/handlers.ts';
export type { Binding, Handlers } from './rpc/handlers.ts';
export type { Call } from './rpc/call.ts';
