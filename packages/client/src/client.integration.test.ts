/** The client against a real supervisor: stock containerd, or the one GANTRY_TEST_ADDRESS names. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { digestOf } from '@gantry/oci';
import { connect } from './client.ts';
import type { Client } from './client.ts';
import type { StdioRequest } from './tasks/stdio.ts';
import { baseLayer, dockerArchive, ociArchive, supervisorMissing, testSupervisor } from './testing/index.ts';
import type { TestSupervisor } from './testing/index.ts';

const reason = supervisorMissing();
const skip = reason === undefined ? false : reason;
let supervisor: TestSupervisor | undefined;
let client: Client;

t.setTimeout(180_000);
t.test('the supervisor answers', { skip }, async (t) => {
  supervisor = await testSupervisor();
  client = connect({ address: supervisor.address, namespace: supervisor.namespace });
  t.match(await client.version(), { version: /^\d+\.\d+/ });
  t.match(await client.introspection.server(), { uuid: /^[0-9a-f-]{36}$/ });
  const plugins = await client.introspection.plugins(['type==io.containerd.snapshotter.v1']);
  t.ok(plugins.some(({ id }) => id === 'overlayfs'));
});

t.test('a socket that is not there is said to be missing', (t) => {
  t.throws(() => connect({ address: '/nonexistent/x.sock' }), { code: 'unavailable', message: /no such socket/ });
  t.throws(() => connect({ address: 'tcp://1.2.3.4' }), { code: 'invalid argument' });
  t.end();
});

t.test('namespaces are made, labelled, listed and removed', { skip }, async (t) => {
  const name = `${client.namespace}-b`;
  await client.namespaces.create(name, { a: '1' });
  await t.rejects(client.namespaces.create(name), { code: 'already exists' });
  await client.namespaces.setLabels(name, { b: '2' });
  t.same({ ...(await client.namespaces.labels(name)) }, { a: '1', b: '2' });
  t.same({ ...(await client.namespaces.labels('nobody-made-this')) }, {});
  t.ok((await client.namespaces.list()).some((namespace) => namespace.name === name));
  await client.namespaces.delete(name);
});

t.test('content is written once, read in pieces and verified', { skip }, async (t) => {
  await using lease = await client.leases.with();
  const bytes = Buffer.alloc(3_000_000, 'gantry');
  const expected = digestOf(bytes);
  const options = lease.options();
  t.match(await client.content.write([bytes], { ref: 'a', expected, ...options }), {
    digest: expected,
    existed: false,
  });
  t.match(await client.content.write([bytes], { ref: 'b', expected, ...options }), { digest: expected, existed: true });
  t.match(await client.content.write([bytes], { ref: 'c', ...options }), { digest: expected, existed: true });
  t.equal((await client.content.info(expected)).size, 3_000_000n);
  t.equal(digestOf(await client.content.readAll(expected, 4_000_000)), expected);
  await t.rejects(client.content.readAll(expected, 1000), { code: 'resource exhausted' });
  const part: Uint8Array[] = [];
  for await (const chunk of client.content.read(expected, { offset: 6n, size: 6n })) part.push(chunk);
  t.equal(Buffer.concat(part).toString(), 'gantry');
  const wrong = digestOf('something else');
  const writing = client.content.write([bytes], { ref: 'd', expected: wrong, ...options });
  await t.rejects(writing, { code: 'failed precondition' });
  await t.rejects(client.content.info(wrong), { code: 'not found' });
  t.ok(
    (await client.leases.resources(lease.id)).some(({ id }) => id === expected),
    'the lease holds it',
  );
});

t.test('archives of both kinds become images that are unpacked', { skip }, async (t) => {
  const oci = await client.images.import(Readable.from([ociArchive()]));
  t.same(
    oci.map(({ name }) => name),
    ['docker.io/library/box:1'],
  );
  const docker = await client.images.import(Readable.from([dockerArchive('dockerbox:2')]));
  t.same(
    docker.map(({ name }) => name),
    ['docker.io/library/dockerbox:2'],
  );
  const { config } = await client.images.resolve('box:1');
  const parent = await client.images.unpack('box:1');
  t.equal(parent, digestOf(`${config.rootfs.diff_ids[0] ?? ''} ${config.rootfs.diff_ids[1] ?? ''}`));
  t.equal((await client.snapshots.stat(parent)).kind, 3);
  t.equal((await client.images.tag('box:1', 'other:3')).name, 'docker.io/library/other:3');
  t.equal((await client.images.list()).length, 3);
  await client.images.remove('other:3');
  await t.rejects(client.images.get('other:3'), { code: 'not found' });
});

t.test('an image whose layer is not what its config says is refused and not named', { skip }, async (t) => {
  const archive = ociArchive({
    layers: [baseLayer()],
    diffIds: [digestOf('x')],
    annotations: { 'io.containerd.image.name': 'docker.io/library/liar:1' },
  });
  await t.rejects(client.images.import(Readable.from([archive])), { message: /wrong diff id/ });
  await t.rejects(client.images.get('liar:1'), { code: 'not found' });
});

/** Runs a container to its end and returns what it said. */
async function runToEnd(
  id: string,
  script: string,
  options: Partial<Parameters<Client['createContainer']>[0]> = {},
): Promise<{ exitStatus: number; output: string; errors: string }> {
  await client.createContainer({ id, image: 'box:1', args: ['sh', '-c', script], ...options });
  try {
    const task = await client.createTask(id, { stdio: { kind: 'pipes' } });
    const output = textOf(task.streams?.stdout);
    const errors = textOf(task.streams?.stderr);
    await task.start();
    const { exitStatus } = await task.wait();
    await task.delete();
    return { exitStatus, output: await output, errors: await errors };
  } finally {
    await client.removeContainer(id, { force: true });
  }
}

async function textOf(stream: AsyncIterable<unknown> | undefined): Promise<string> {
  let text = '';
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

t.test('a container runs, says what it has to say, and its exit code comes back', { skip }, async (t) => {
  const result = await runToEnd('first', 'echo out; echo err >&2; exit 7');
  t.same(result, { exitStatus: 7, output: 'out\n', errors: 'err\n' });
  await t.rejects(client.containers.get('first'), { code: 'not found' });
  await t.rejects(client.snapshots.stat('first'), { code: 'not found' });
});

t.test('user, environment, directory, hostname and mounts arrive in the container', { skip }, async (t) => {
  const { output } = await runToEnd('options', 'id; echo $FROM_IMAGE$OWN; pwd; hostname; cat /hosts | head -n 1', {
    user: 'alice',
    env: ['OWN=2'],
    workdir: '/tmp',
    hostname: 'inside',
    mounts: [{ type: 'bind', source: '/etc/hosts', destination: '/hosts', options: ['rbind', 'ro'] }],
  });
  const [first] = readFileSync('/etc/hosts', 'utf8').split('\n');
  t.match(output.split('\n'), [/^uid=1000\S* gid=1001.*50/, '12', '/tmp', 'inside', first]);
});

t.test('a read-only root cannot be written, and a user that is not there is not found', { skip }, async (t) => {
  const { exitStatus } = await runToEnd('readonly', 'touch /x', { readOnly: true });
  t.equal(exitStatus, 1);
  const creating = client.createContainer({ id: 'nobody', image: 'box:1', user: 'mallory' });
  await t.rejects(creating, { code: 'not found', message: /user "mallory"/ });
  await t.rejects(client.snapshots.stat('nobody'), { code: 'not found' }, 'the snapshot was taken back');
});

t.test('what is typed in arrives, and its end too', { skip }, async (t) => {
  await client.createContainer({ id: 'input', image: 'box:1', args: ['cat'] });
  const task = await client.createTask('input', { stdio: { kind: 'pipes', stdin: true } });
  const output = textOf(task.streams?.stdout);
  await task.start();
  task.streams?.stdin?.write('hello ');
  task.streams?.stdin?.write('container');
  await task.closeStdin();
  t.equal((await task.wait()).exitStatus, 0);
  await task.delete();
  t.equal(await output, 'hello container');
  await client.removeContainer('input');
});

t.test('a megabyte of output is complete', { skip }, async (t) => {
  const { output } = await runToEnd('much', 'yes 0123456789abcde | head -c 1048576');
  t.equal(output.length, 1_048_576);
});

t.test('exec runs beside the container, kill ends it, the exit is told to everybody', { skip }, async (t) => {
  await client.createContainer({ id: 'long', image: 'box:1', args: ['sleep', '600'] });
  const task = await client.createTask('long', { stdio: { kind: 'null' } });
  await task.start();
  const stdio: StdioRequest = { kind: 'pipes' };
  const exec = await client.exec('long', {
    args: ['sh', '-c', 'echo $A; pwd; exit 5'],
    stdio,
    env: ['A=b'],
    workdir: '/tmp',
  });
  const output = textOf(exec.streams?.stdout);
  await exec.start();
  t.equal((await exec.wait()).exitStatus, 5);
  await exec.delete();
  t.equal(await output, 'b\n/tmp\n');
  await t.rejects(client.removeContainer('long'), { code: 'failed precondition' });
  const waits = [task.wait(), task.wait()];
  await task.kill(9);
  t.same(
    (await Promise.all(waits)).map(({ exitStatus }) => exitStatus),
    [137, 137],
  );
  await t.rejects(task.kill(9), { code: 'not found' });
  await client.removeContainer('long');
});

t.test('a command that is not there fails the start, in the words of the runtime', { skip }, async (t) => {
  await client.createContainer({ id: 'nothing', image: 'box:1', args: ['/no/such/thing'] });
  const starting = (async () => {
    const task = await client.createTask('nothing', { stdio: { kind: 'null' } });
    await task.start();
  })();
  await t.rejects(starting, { message: /no such file|not found/ });
  await client.removeContainer('nothing', { force: true });
});

t.test('a terminal has a size and one stream', { skip }, async (t) => {
  await client.createContainer({
    id: 'tty',
    image: 'box:1',
    args: ['sh', '-c', 'sleep 0.3; stty size'],
    terminal: true,
  });
  const task = await client.createTask('tty', { stdio: { kind: 'pipes' } });
  t.equal(task.streams?.stderr, undefined);
  const output = textOf(task.streams?.stdout);
  await task.start();
  await task.resize({ columns: 91, rows: 31 });
  await task.wait();
  await task.delete();
  t.equal((await output).trim(), '31 91');
  await client.removeContainer('tty');
});

t.test('waits have deadlines and can be given up', { skip }, async (t) => {
  await client.createContainer({ id: 'patience', image: 'box:1', args: ['sleep', '600'] });
  const task = await client.createTask('patience', { stdio: { kind: 'null' } });
  await task.start();
  await t.rejects(client.tasks.wait('patience', '', { timeoutMs: 200 }), { code: 'deadline exceeded' });
  const giveUp = AbortSignal.timeout(100);
  await t.rejects(client.tasks.wait('patience', '', { signal: giveUp }), { code: 'cancelled' });
  await client.removeContainer('patience', { force: true });
});

t.test("events tell a container's life in order", { skip }, async (t) => {
  const seen: string[] = [];
  const subscription = client.events.subscribe([`namespace==${client.namespace},topic~=|^/tasks/|`]);
  const listening = (async () => {
    for await (const event of subscription) {
      seen.push(event.topic);
      if (event.topic === '/tasks/delete') return;
    }
  })();
  // The server does not say when a subscription is in place; a call behind it on the same connection is a good hint.
  await client.version();
  await runToEnd('told', 'true');
  await listening;
  t.same(seen, ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
});

t.test('nothing of the tests is left in the supervisor', { skip }, async (t) => {
  t.same(await client.containers.list(), []);
  t.same(await client.tasks.list(), []);
  t.same(await client.leases.list(), []);
  for (const image of await client.images.list()) await client.images.remove(image.name, { sync: true });
  const snapshots: string[] = [];
  for await (const { name } of client.snapshots.list()) snapshots.push(name);
  t.same(snapshots, []);
});

t.teardown(async () => {
  client?.close();
  await supervisor?.stop();
});
