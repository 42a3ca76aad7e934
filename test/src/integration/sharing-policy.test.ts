/** Namespaces that are isolated: a digest alone brings nobody another's blob, on gantryd as on containerd. */
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { content } from '@gantry/api';
import { connect } from '@gantry/client';
import { codeOf } from '@gantry/errors';
import {
  gantryd,
  missing,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  sha256,
  stockContainerd,
} from '../index.ts';
import type { DaemonProcess } from '../index.ts';

const bytes = randomBytes(100_000);
const digest = sha256(bytes);

/** Opens an ingest for the blob and commits it as it is: 'taken', or the class of the error. */
async function ask(daemon: DaemonProcess, namespace: string): Promise<string> {
  using client = connect({ address: daemon.address, namespace });
  const { ContentService, WriteAction, WriteContentRequest } = content;
  const stream = client.transport.bidi(ContentService, ContentService.methods.write, {});
  const total = BigInt(bytes.length);
  try {
    const open = { action: WriteAction.STAT, ref: 'asked', expected: digest, total };
    await stream.send(WriteContentRequest.create(open));
    const offset = (await stream.receive())?.offset ?? 0n;
    await stream.send(WriteContentRequest.create({ ...open, action: WriteAction.COMMIT, offset }));
    await stream.receive();
    return 'taken';
  } catch (err) {
    return codeOf(err);
  } finally {
    stream.close();
  }
}

async function story(daemon: DaemonProcess): Promise<readonly string[]> {
  const [owner, other, third] = ['o', 'p', 'q'].map(scratchNamespace);
  if (owner === undefined || other === undefined || third === undefined) throw new Error('no namespaces');
  using client = connect({ address: daemon.address, namespace: owner });
  const labels = { 'containerd.io/gc.root': 'kept' };
  await client.content.write([bytes], { ref: 'own', expected: digest, sizeBytes: BigInt(bytes.length), labels });
  const before = await ask(daemon, other);
  await client.namespaces.setLabels(owner, { 'containerd.io/namespace.shareable': 'true' });
  return [before, await ask(daemon, other), await ask(daemon, third)];
}

t.setTimeout(100_000);
t.test('isolated namespaces', { skip: missing('containerd') ?? false }, async (t) => {
  const dir = scratchDirectory();
  const config = path.join(dir, 'gantryd.toml');
  writeFileSync(config, '[content]\nsharing_policy = "isolated"\n[shim]\nspares = 0\n');
  const ours = gantryd(path.join(dir, 'g'), ['--config', config]);
  const policy = ['[plugins."io.containerd.metadata.v1.bolt"]', '  content_sharing_policy = "isolated"'];
  const theirs = stockContainerd(path.join(dir, 'c'), undefined, policy);
  const told: (readonly string[])[] = [];
  for (const daemon of [theirs, ours]) {
    await daemon.start();
    try {
      told.push(await story(daemon));
    } finally {
      await daemon.stop();
    }
  }
  t.same(told[1], ['failed precondition', 'taken', 'taken']);
  // Debian's containerd does not know the label yet.
  t.equal(told[0]?.[0], told[1]?.[0], 'as containerd does');
  removeScratch(dir);
});
