/** `@gantry/api/shim`: the part of the contracts that a shim and ttrpc need, so that a shim's memory holds no more. */
export * from './any.ts';
export * from './identifiers.ts';
export * from './message-type.ts';
export * from './metadata-headers.ts';
export * from './service-type.ts';
export * from './timestamps.ts';

export * as cgroupsV1 from './gen/io/containerd/cgroups/v1.ts';
export * as cgroupsV2 from './gen/io/containerd/cgroups/v2.ts';
export * as events from './gen/containerd/events.ts';
export * as eventsTtrpc from './gen/containerd/services/events/ttrpc/v1.ts';
export * as gantryShim from './gen/gantry/shim/v1.ts';
export * as rpc from './gen/google/rpc.ts';
export * as runcOptions from './gen/containerd/runc/v1.ts';
export * as runtimeOptions from './gen/runtimeoptions/v1.ts';
export * as sandboxShim from './gen/containerd/runtime/sandbox/v1.ts';
export * as taskV2 from './gen/containerd/task/v2.ts';
export * as taskV3 from './gen/containerd/task/v3.ts';
export * as ttrpcWire from './gen/ttrpc.ts';
export * as types from './gen/containerd/types.ts';
export * as v1Types from './gen/containerd/v1/types.ts';
export * as wellKnown from './gen/google/protobuf.ts';
