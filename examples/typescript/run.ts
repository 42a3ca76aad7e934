// Runs a container to its end over the socket of gantryd or containerd:
//
//   node run.js SOCKET IMAGE COMMAND…        (node runs run.ts itself from Node.js 22.18 on)
//
// The image is pulled when it is not there. The container's output is this program's, its exit status too.
import process from 'node:process';
import { connect } from '@gantry/client';
import { isCode } from '@gantry/errors';

const [address = '/run/gantry/gantry.sock', name = 'docker.io/library/busybox:latest', ...args] = process.argv.slice(2);

using client = connect({ address, namespace: process.env['CONTAINERD_NAMESPACE'] ?? 'example' });
process.stderr.write(`connected to ${(await client.version()).version}\n`);

const image = await client.images.get(name).catch((err: unknown) => {
  if (!isCode(err, 'not found')) throw err;
  return client.images.pull(name);
});

// What happens to tasks while this program runs, as it happens.
await using events = client.events.subscribe([`namespace==${client.namespace},topic~=|^/tasks/|`]);
const topics = (async () => {
  const seen: string[] = [];
  for await (const { topic } of events) if (seen.push(topic) && topic === '/tasks/delete') break;
  return seen;
})();

const id = `example-${process.pid}`;
await client.createContainer({ id, image: image.name, args: args.length === 0 ? ['echo', 'hello'] : args });
try {
  await using task = await client.createTask(id, { stdio: { kind: 'pipes' } });
  task.streams?.stdout.pipe(process.stdout);
  task.streams?.stderr?.pipe(process.stderr);
  await task.start();
  const { exitStatus } = await task.wait();
  await task.delete();
  process.stderr.write(`events: ${(await topics).join(' ')}\n`);
  process.exitCode = exitStatus;
} finally {
  await client.removeContainer(id);
}
