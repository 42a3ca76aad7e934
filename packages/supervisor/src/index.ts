export { bind } from './rpc/handlers.ts';
export type { Binding, Handlers } from './rpc/handlers.ts';
export type { Call } from './rpc/call.ts';
