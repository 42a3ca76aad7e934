/** Calls that answer when the world changes, not when their work is done: a server that ends does not wait for them. */
const endless: ReadonlySet<string> = new Set([
  '/containerd.services.events.v1.Events/Subscribe',
  '/containerd.services.sandbox.v1.Controller/Wait',
  '/containerd.services.streaming.v1.Streaming/Stream',
  '/containerd.services.tasks.v1.Tasks/Wait',
  '/grpc.health.v1.Health/Watch',
]);

/** Whether the method, as `/service/Method`, is one of them. */
export function isEndless(rpc: string): boolean {
  return endless.has(rpc);
}
