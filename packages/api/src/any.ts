/**
 * `google.protobuf.Any` the way containerd uses it: the type URL of a protobuf message is its bare full name, and documents
 * in JSON have URLs of their own.
 */
import { invalidArgument } from '@gantry/errors';
import type { Any } from './gen/google/protobuf.ts';
import type { MessageType, PartialMessage } from './message-type.ts';

/** The URLs of what travels as JSON inside an Any. */
export const typeUrls = {
  spec: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  process: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  linuxResources: 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources',
  windowsResources: 'types.containerd.io/opencontainers/runtime-spec/1/WindowsResources',
  features: 'types.containerd.io/opencontainers/runtime-spec/1/features/Features',
  criContainerMetadata: 'github.com/containerd/cri/pkg/store/container/Metadata',
  criSandboxMetadata: 'github.com/containerd/cri/pkg/store/sandbox/Metadata',
  registryStatusError: 'github.com/containerd/containerd/v2/core/remotes/errors/ErrUnexpectedStatus',
} as const;

/** Packs a message; the URL is the bare full name, without a host. */
export function packAny<T>(type: MessageType<T>, message: PartialMessage<T>): Any {
  return { typeUrl: type.typeName, value: type.encode(type.create(message)) };
}

/** Packs a JSON document under one of `typeUrls`. */
export function packJsonAny(typeUrl: string, document: unknown): Any {
  return { typeUrl, value: Buffer.from(JSON.stringify(document), 'utf8') };
}

/** The full name of the packed message: what follows the last `/`, for peers that put a host before it. */
export function anyTypeName(any: Pick<Any, 'typeUrl'>): string {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
}

/** Whether `any` holds a message of this type. */
export function isAny<T>(type: MessageType<T>, any: Pick<Any, 'typeUrl'> | undefined): boolean {
  return any !== undefined && anyTypeName(any) === type.typeName;
}

/** The packed message. Throws invalid argument when it is of another type, or malformed. */
export function unpackAny<T>(type: MessageType<T>, any: Any): T {
  if (!isAny(type, any)) throw invalidArgument(`type url "${any.typeUrl}": expected ${type.typeName}`);
  return type.decode(any.value);
}
