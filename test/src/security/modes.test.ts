/** Who may enter: the modes of gantryd's directories, files and sockets, whatever the umask and whatever was there before. */
import t from 'tap';
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { ApiBox, missing } from '../index.ts';

const skip = missing('busybox') ?? false;
const others = 0o077;

const modeOf = (file: string): number => lstatSync(file).mode & 0o7777;

/** Everything below a directory but what a container has mounted or made. */
function below(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(dir, entry.name);
    return entry.isDirectory() ? [file, ...below(file)] : [file];
  });
}

t.test('nobody but root gets at state, records, bundles and sockets', { skip, timeout: 120_000 }, async (t) => {
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  const box = new ApiBox({ config: '[grpc]\ngid = 12345\n' });
  const { root, state, address } = box.daemon;
  for (const dir of [root, state]) {
    mkdirSync(dir);
    mkdirSync(path.join(dir, 's'), { recursive: true });
  }
  await box.start();
  await box.run('c');
  t.equal(await box.exec('c', 'x', ['true']), 0);

  t.equal(modeOf(root), 0o700, 'the root was open and is closed');
  t.equal(modeOf(state), 0o711);
  t.equal(modeOf(address), 0o660, 'the API is for the group that the configuration names');
  t.equal(lstatSync(address).gid, 12345);
  t.equal(modeOf(`${address}.ttrpc`), 0o600, 'where shims tell their events');
  const found = below(state);
  t.ok(found.filter((file) => lstatSync(file).isSocket()).length >= 2, 'the shim and the spares listen');
  const open = found.filter((file) => {
    const stat = lstatSync(file);
    // Directories may be entered by who knows a name, as the state directory may; nothing can be listed, read or written.
    return (stat.mode & (stat.isDirectory() ? others & ~0o011 : others)) !== 0;
  });
  t.same(
    open.map((file) => `${path.relative(state, file)} ${modeOf(file).toString(8)}`),
    [],
  );
  await box.remove('c');
  await box.end(t);
});

t.test('without a group the API is root’s alone', { skip, timeout: 60_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  t.equal(modeOf(box.daemon.address), 0o600);
  await box.end(t);
});
