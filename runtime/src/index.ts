export type { Container, CreateRequest, ExecRequest, ExecutedProcess, RootfsMount, Stdio } from './container.ts';
export { createContainer } from './create.ts';
export type { CheckpointRequest, RestoreSettings } from './criu/options.ts';
export { deleteLeftovers } from './delete.ts';
export { mountRootfs } from './rootfs/mounted-root.ts';
export { detachFromHost } from './rootfs/on-host.ts';
export { restoreContainer } from './restore.ts';
export type { RestoreRequest } from './restore.ts';
export { warmUp } from './warm-up.ts';
