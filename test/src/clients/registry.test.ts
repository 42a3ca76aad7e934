/** Pull and push beside Debian's containerd, by the same TLS registry and the same hosts.toml: same content, same labels. */
import t from 'tap';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { Differ } from '@gantry/diff';
import { hostDirectories, pullImage, pushImage, Registry, Transport, unpackImage } from '@gantry/images';
import {
  digestsIn,
  layerApplier,
  place,
  putImage,
  registryMissing,
  selfSignedCertificate,
  startRegistry,
} from '@gantry/images/testing';
import { digestOf } from '@gantry/oci';
import { OverlayfsSnapshotter, SnapshotStore } from '@gantry/snapshots';
import { ctr, missing, removeScratch, run, scratchDirectory, scratchNamespace, stockContainerd } from '../index.ts';
import { tarBytes } from '@gantry/client/testing';

const skip = registryMissing ?? missing('ctr', 'containerd', 'runc') ?? false;

/** `ctr content ls`: digest → labels, sorted. */
function labelsOf(listing: string): Map<string, string[]> {
  const rows = listing.trim().split('\n').slice(1);
  return new Map(
    rows.map((row) => {
      const [digest = '', , , labels = ''] = row.split('\t').map((cell) => cell.trim());
      return [digest, labels === '-' ? [] : labels.split(',').sort()];
    }),
  );
}

t.test(
  'a stock containerd pulls what we push, we pull what it pushes, with the same labels',
  { skip, timeout: 110_000 },
  async (t) => {
    const dir = scratchDirectory();
    const tls = selfSignedCertificate(dir);
    const server = await startRegistry(path.join(dir, 'r'), { tls });
    const hostsDir = path.join(dir, 'certs.d');
    mkdirSync(path.join(hostsDir, server.host), { recursive: true });
    writeFileSync(path.join(hostsDir, server.host, 'ca.crt'), readFileSync(tls.certificate));
    writeFileSync(
      path.join(hostsDir, server.host, 'hosts.toml'),
      `server = "${server.url}"\n[host."${server.url}"]\n  ca = "ca.crt"\n`,
    );
    const daemon = stockContainerd(path.join(dir, 'c'));
    await daemon.start();
    const transport = new Transport({ environment: {} });
    const differ = new Differ();
    t.teardown(async () => {
      await differ.close();
      await transport.close();
      await daemon.stop();
      await server.stop();
      removeScratch(dir);
    });
    const resolver = new Registry({ send: transport.send, hosts: hostDirectories({ directories: [hostsDir] }) });
    const layers = [tarBytes([{ name: 'a', body: 'lower' }]), tarBytes([{ name: 'a', body: 'upper' }])];
    const here = await place(path.join(dir, 'here'));
    const diffIds = layers.map((layer) => digestOf(layer));
    const made = await putImage(here, { layers: layers.map((layer) => gzipSync(layer)), diffIds });
    const ours = `${server.host}/team/ours:1`;
    const theirs = `${server.host}/team/theirs:1`;
    await pushImage({ resolver, content: here.content }, ours, made.descriptor);

    const namespace = scratchNamespace('r');
    const call = async (...words: string[]) => ctr(daemon, namespace, words);
    const pulled = await call('images', 'pull', '--hosts-dir', hostsDir, ours);
    t.equal(pulled.code, 0, pulled.stderr);
    const listing = (await call('content', 'ls')).stdout;
    t.same([...labelsOf(listing).keys()].sort(), digestsIn(here));

    const there = await place(path.join(dir, 'there'));
    const snapshotters = [new OverlayfsSnapshotter({ root: path.join(dir, 'snapshots') })];
    const snapshots = new SnapshotStore({ store: there.store, snapshotters });
    const unpacking = {
      content: there.contentStore,
      snapshots,
      differ: layerApplier(there.contentStore, differ),
      namespace: 'ns',
      snapshotter: 'overlayfs',
      lease: 'lease',
    };
    await pullImage({ resolver, content: there.content }, ours, {
      onImage: async (image, signal) => void (await unpackImage(unpacking, image, { signal })),
    });
    const own = [...there.contentStore.list('ns')].map(({ digest, labels }): [string, string[]] => [
      digest,
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .sort(),
    ]);
    t.same(new Map(own), labelsOf(listing), 'the labels are those that containerd sets');

    t.equal((await call('images', 'tag', ours, theirs)).code, 0);
    const pushed = await call('images', 'push', '--hosts-dir', hostsDir, theirs);
    t.equal(pushed.code, 0, pushed.stderr);
    const back = await place(path.join(dir, 'back'));
    const again = await pullImage({ resolver, content: back.content }, theirs);
    t.equal(again.target.digest, made.descriptor.digest);
    t.same(digestsIn(back), digestsIn(here));
    t.ok((await run('ctr', ['-a', daemon.address, '-n', namespace, 'images', 'rm', ours, theirs])).code === 0);
  },
);
