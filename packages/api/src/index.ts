export * from './shim.ts';

export * from './descriptors.ts';
export * from './grpc-service-definition.ts';
export * from './labels.ts';
export * from './reflection.ts';
export * from './registry.ts';

export * as bootstrap from './gen/containerd/runtime/bootstrap/v1.ts';
export * as containers from './gen/containerd/services/containers/v1.ts';
export * as content from './gen/containerd/services/content/v1.ts';
export * as diff from './gen/containerd/services/diff/v1.ts';
export * as eventsService from './gen/containerd/services/events/v1.ts';
export * as health from './gen/grpc/health/v1.ts';
export * as images from './gen/containerd/services/images/v1.ts';
export * as introspection from './gen/containerd/services/introspection/v1.ts';
export * as leases from './gen/containerd/services/leases/v1.ts';
export * as mounts from './gen/containerd/services/mounts/v1.ts';
export * as namespaces from './gen/containerd/services/namespaces/v1.ts';
export * as reflection from './gen/grpc/reflection/v1.ts';
export * as reflectionAlpha from './gen/grpc/reflection/v1alpha.ts';
export * as sandbox from './gen/containerd/services/sandbox/v1.ts';
export * as sandboxShim from './gen/containerd/runtime/sandbox/v1.ts';
export * as snapshots from './gen/containerd/services/snapshots/v1.ts';
export * as streaming from './gen/containerd/services/streaming/v1.ts';
export * as tasks from './gen/containerd/services/tasks/v1.ts';
export * as transfer from './gen/containerd/services/transfer/v1.ts';
export * as transferTypes from './gen/containerd/types/transfer.ts';
export * as version from './gen/containerd/services/version/v1.ts';
