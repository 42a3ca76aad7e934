// A supervisor inside this program, and containers on it: for tests, and for tools that bring their own.
//
//   node embedded.js ARCHIVE        (an image archive: `docker save`, `skopeo copy … oci-archive:`)
//
// Nothing is installed or configured, nobody else's containers are seen, and nothing is left.
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { connect } from '@gantry/client';
import type { TaskStats } from '@gantry/client';
import { startSupervisor } from '@gantry/supervisor';

const [archive = 'image.tar'] = process.argv.slice(2);
const dir = await mkdtemp('/tmp/embedded-'); // short: a socket's path has at most 107 bytes

try {
  await using supervisor = await startSupervisor({ root: path.join(dir, 'root'), state: path.join(dir, 'state') });
  using client = connect({ address: supervisor.address });

  await using lease = await client.leases.with(); // what is made below it stays until the block ends
  const [image] = await client.images.import(createReadStream(archive), lease.options());
  if (image === undefined) throw new Error(`${archive} has no image`);
  await client.createContainer({ id: 'box', image: image.name, args: ['sleep', '1000'] });
  {
    await using task = await client.createTask('box', { stdio: { kind: 'null' } });
    await task.start();

    await using exec = await client.exec('box', { args: ['cat'], stdio: { kind: 'pipes', stdin: true } });
    await exec.start();
    exec.streams?.stdin?.write('through the container\n');
    await exec.closeStdin();
    for await (const chunk of exec.streams?.stdout ?? []) process.stdout.write(chunk as Uint8Array);
    process.stdout.write(`exec ended with ${(await exec.wait()).exitStatus}\n`);

    let usage: TaskStats | undefined;
    for await (const [reading] of client.stats({ ids: ['box'] })) if ((usage = reading) !== undefined) break;
    process.stdout.write(`processes: ${usage?.pids}\n`);

    await task.kill(9);
    process.stdout.write(`task ended with ${(await task.wait()).exitStatus}\n`);
  }
  await client.removeContainer('box');
} finally {
  await rm(dir, { recursive: true, force: true, maxRetries: 5 });
}
