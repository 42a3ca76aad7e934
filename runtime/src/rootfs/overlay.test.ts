import t from 'tap';
import type { Test } from 'tap';
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { IdMaps } from '@gantry/oci';
import type { OverlayRequest, OverlayResult } from '../testing/overlay-driver.ts';

const driver = fileURLToPath(new URL('../testing/overlay-driver.js', import.meta.url));

function overlay(refused: 'nothing' | 'descriptors' | 'lists', request: OverlayRequest): OverlayResult {
  const words = ['--single-threaded', driver, refused, JSON.stringify(request)];
  return JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' })) as OverlayResult;
}

const maps: IdMaps = {
  uidMappings: [
    { containerID: 0, hostID: 100_000, size: 1 },
    { containerID: 1, hostID: 200_000, size: 9 },
  ],
  gidMappings: [{ containerID: 0, hostID: 300_000, size: 10 }],
};

/** So many layers, the nearest first: each has a file of its own name, the last one the others too. */
function layersIn(t: Test, count: number): { layers: string[]; upper: string; work: string } {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-overlay-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const made = (name: string): string => {
    const at = path.join(dir, 'a-rather-long-name-for-a-directory', name);
    mkdirSync(at, { recursive: true });
    return at;
  };
  const layers = Array.from({ length: count }, (_, n) => made(`layer-${n}`));
  const write = (layer: number, name: string, uid: number, gid: number): void => {
    const file = path.join(layers[layer] ?? '', name);
    writeFileSync(file, '');
    chownSync(file, uid, gid);
  };
  write(0, 'top', 5, 6);
  write(count - 1, 'bottom', 0, 0);
  write(count - 1, 'foreign', 50, 50);
  const upper = made('upper');
  chownSync(upper, 100_000, 300_000);
  return { layers, upper, work: made('work') };
}

const usable = await unusable();

/** Why ids cannot be mapped here; false when they can. */
async function unusable(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'needs root';
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-overlay-'));
  try {
    mkdirSync(path.join(dir, 'a'));
    mkdirSync(path.join(dir, 'b'));
    const data = [`lowerdir=${dir}/a:${dir}/b`];
    const { error } = overlay('nothing', { data, maps, files: [] });
    return error === undefined ? false : `no id-mapped layers here: ${error}`;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

for (const refused of ['nothing', 'descriptors'] as const) {
  const what = refused === 'nothing' ? 'by descriptor' : 'under short names';
  t.test(
    `mapped layers ${what} show the host’s ids, what is made has them, and the host sees nothing`,
    { skip: usable },
    (t) => {
      const { layers, upper, work } = layersIn(t, 100);
      const data = ['index=off', `workdir=${work}`, `upperdir=${upper}`, `lowerdir=${layers.join(':')}`];
      const files = ['.', 'top', 'bottom', 'foreign', 'new'];
      const result = overlay(refused, { data, maps, files, make: 'new' });
      t.same(result, {
        seen: ['100000:300000 755', '200004:300006 644', '100000:300000 644', '65534:65534 644', '0:0 755'],
        left: [],
      });
      const { uid } = statSync(path.join(layers[0] ?? '', 'top'));
      t.equal(uid, 5, 'the layer is as it was');
      const view = overlay(refused, { data: [`lowerdir=${layers.slice(0, 2).join(':')}`], maps, files: ['top'] });
      t.same(view.seen, ['200004:300006 644'], 'without an upper layer');
      t.end();
    },
  );
}

t.test(
  'where lists of layers are too long for an old kernel they get short names',
  { skip: usable === 'needs root' ? usable : false },
  (t) => {
    const { layers, upper, work } = layersIn(t, 60);
    const data = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${layers.join(':')}`];
    t.same(overlay('lists', { data, files: ['top', 'bottom'] }), { seen: ['5:6 644', '0:0 644'], left: [] });
    t.end();
  },
);

t.test('a layer that is not there is named, and nothing is left', { skip: usable }, (t) => {
  const { layers, upper, work } = layersIn(t, 2);
  const data = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${layers.join(':')}:/no/such/layer`];
  for (const refused of ['nothing', 'descriptors'] as const) {
    const { error, left } = overlay(refused, { data, maps, files: [] });
    t.match(error, /ENOENT.*\/no\/such\/layer/);
    t.same(left, []);
  }
  const missing = overlay('descriptors', {
    data: data.map((word) => word.replace('/work', '/nowhere')),
    maps,
    files: [],
  });
  t.match(missing.error, /mount|ENOENT/);
  t.same(missing.left, []);
  t.end();
});
