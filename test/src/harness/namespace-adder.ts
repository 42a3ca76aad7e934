/**
 * In front of a Snapshots service: adds the namespace to calls that come without. Containerd 1.6 sends none to its proxy plugins;
 * later ones do.
 */
import { grpcServiceDefinition, namespaceHeader, snapshots } from '@gantry/api';
import { Client, credentials, Metadata, Server, ServerCredentials } from '@grpc/grpc-js';
import type { handleServerStreamingCall, handleUnaryCall, MethodDefinition } from '@grpc/grpc-js';

const asIs = (bytes: Buffer): Buffer => bytes;

export interface NamespaceAdder {
  readonly address: string;
  stop(): void;
}

/** Listens on `address` and hands every call on to `target`. */
export async function namespaceAdder(address: string, target: string, namespace: string): Promise<NamespaceAdder> {
  const client = new Client(`unix:${target}`, credentials.createInsecure(), { 'grpc.default_authority': 'localhost' });
  const metadata = new Metadata();
  metadata.set(namespaceHeader, namespace);
  const server = new Server();
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
  const handlers: Record<string, handleUnaryCall<Buffer, Buffer> | handleServerStreamingCall<Buffer, Buffer>> = {};
  const streamed =
    (path: string): handleServerStreamingCall<Buffer, Buffer> =>
    (call) => {
      const answers = client.makeServerStreamRequest(path, asIs, asIs, call.request, metadata);
      answers.on('data', (bytes: Buffer) => call.write(bytes));
      answers.on('error', (err) => call.destroy(err));
      answers.on('end', () => call.end());
    };
  const unary =
    (path: string): handleUnaryCall<Buffer, Buffer> =>
    (call, done) =>
      void client.makeUnaryRequest(path, asIs, asIs, call.request, metadata, done);
  for (const [name, method] of Object.entries(grpcServiceDefinition(snapshots.SnapshotsService))) {
    const { path, responseStream } = method;
    const raw = {
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    };
    definition[name] = { path, requestStream: false, responseStream, ...raw };
    handlers[name] = responseStream ? streamed(path) : unary(path);
  }
  server.addService(definition, handlers);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${address}`, ServerCredentials.createInsecure(), (err) =>
      err === null ? resolve() : reject(err),
    );
  });
  return {
    address,
    stop: () => {
      client.close();
      server.forceShutdown();
    },
  };
}
