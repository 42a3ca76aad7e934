/**
 * The client library and the gantry command on gantryd: the rooms' own integration tests, which run on stock containerd
 * when they are started by themselves, run here on the daemon they are made for.
 */
import t from 'tap';
import path from 'node:path';
import { checkout, gantryd, hostState, leaks, missing, removeScratch, run, scratchDirectory } from '../index.ts';

const skip = missing('busybox') ?? false;

t.setTimeout(300_000);
t.test('what works on containerd works on gantryd', { skip, timeout: 280_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const daemon = gantryd(dir);
  await daemon.start();
  const files = ['client/dist/client', 'cli/dist/cli', 'cli/dist/images'];
  for (const file of files.map((name) => `packages/${name}.integration.test.js`)) {
    const result = await run(process.execPath, [path.join(checkout, file)], {
      env: { GANTRY_TEST_ADDRESS: daemon.address },
      timeoutMs: 120_000,
    });
    const points = result.stdout.split('\n').filter((line) => /^(not )?ok \d+/.test(line));
    t.ok(points.length > 0, `${file}: ${points.length} tests`);
    const missed = points.filter((line) => line.startsWith('not ok') || line.includes('# SKIP'));
    t.same(missed, [], missed.length === 0 ? file : `${file}: ${result.stdout.slice(-4000)}`);
    t.equal(result.code, 0, result.code === 0 ? file : `${file}: ${result.stderr.slice(-2000)}`);
  }
  await daemon.stop();
  t.same(leaks(before, [dir]), [], 'nothing is left on the host');
  removeScratch(dir);
});
