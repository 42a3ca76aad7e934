export { Client, connect, defaultSnapshotter } from './client.ts';
export type { ConnectOptions } from './client.ts';
export { defaultAddress, defaultNamespace } from './transport/address.ts';
export type { CallOptions } from './transport/call-options.ts';
export { Transport } from './transport/transport.ts';
export { defaultRuntime } from './containers/create.ts';
export type { CreateContainerOptions } from './containers/create.ts';
export type { RemoveContainerOptions } from './containers/remove.ts';
export type { FileChange } from './images/changes.ts';
export type { CommitOptions, RunConfigChange } from './images/commit.ts';
export type { ConvertOptions } from './images/convert.ts';
export { ImagesClient } from './images/images.ts';
export type { ExportOptions, ImportOptions, PlatformOptions, UnpackOptions } from './images/images.ts';
export type { ResolvedImage } from './images/resolve.ts';
export { ContainersClient } from './services/containers.ts';
export type { ContainerRecord } from './services/containers.ts';
export { ContentClient } from './services/content.ts';
export type { ReadOptions, WriteOptions, Written } from './services/content.ts';
export { EventsClient } from './services/events.ts';
export type { Subscription, SupervisorEvent } from './services/events.ts';
export type { ImageRecord } from './services/images.ts';
export { IntrospectionClient } from './services/introspection.ts';
export { Lease, LeasesClient } from './services/leases.ts';
export type { CreateLeaseOptions } from './services/leases.ts';
export { NamespacesClient } from './services/namespaces.ts';
export { makeDiff, SnapshotsClient } from './services/snapshots.ts';
export type { MakeDiffOptions } from './services/snapshots.ts';
export { TasksClient } from './services/tasks.ts';
export type { ExecRequest, TaskInfo } from './services/tasks.ts';
export { defaultSeccomp } from './spec/seccomp.ts';
export { generateExecProcess, generateSpec } from './spec/generate.ts';
export type { SpecOptions } from './spec/generate.ts';
export { resolveUser } from './spec/user.ts';
export type { ResolvedUser } from './spec/user.ts';
export { Fifos } from './io/fifos.ts';
export type { StdioPaths } from './io/fifos.ts';
export { toDate, toExitStatus } from './tasks/exit-status.ts';
export type { ExitStatus } from './tasks/exit-status.ts';
export { TaskProcess } from './tasks/process.ts';
export { specOf } from './tasks/start.ts';
export type { CreateTaskOptions, ExecOptions } from './tasks/start.ts';
export { isLive, statusName } from './tasks/status.ts';
export type { TaskStatus } from './tasks/status.ts';
export type { StdioRequest } from './tasks/stdio.ts';
export type {
  CredentialsFor,
  PullOptions,
  PushOptions,
  RegistryCredentials,
  RegistryOptions,
} from './transfer/registry.ts';
export { TransferStream } from './transfer/streams.ts';
export { runTransfer, transferEnd } from './transfer/transfer.ts';
export type { TransferOptions, TransferProgress } from './transfer/transfer.ts';
export { readUsage, usageOf } from './tasks/usage.ts';
export type { StatsOptions, StatsStream, TaskStats, TaskUsage } from './tasks/usage.ts';
export { waitForExit } from './tasks/wait.ts';
