import t from 'tap';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { resolveRuntime } from './runtime-name.ts';

t.test('a runtime name is ours, a program on PATH, or refused in the words of containerd', (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-runtime-'));
  const before = process.env['PATH'];
  t.teardown(() => {
    process.env['PATH'] = before;
    rmSync(dir, { recursive: true });
  });
  process.env['PATH'] = `relative:${dir}`;
  const program = path.join(dir, 'containerd-shim-kata-v2');
  writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(path.join(dir, 'containerd-shim-plain-v1'), '', { mode: 0o644 });
  mkdirSync(path.join(dir, 'containerd-shim-dir-v1'));
  chmodSync(program, 0o755);
  const foreign = { kind: 'foreign', binary: program };
  const mapped = new Map([
    ['io.containerd.runc.v2', 'containerd-shim-kata-v2'],
    ['secure', 'io.containerd.kata.v2'],
    ['usual', 'io.containerd.gantry.v1'],
    ['mine', program],
  ]);

  for (const name of ['io.containerd.gantry.v1', 'io.containerd.runc.v2'])
    t.same(resolveRuntime(name), { kind: 'own' }, name);
  for (const name of ['io.containerd.kata.v2', 'x.kata.v2', program]) t.same(resolveRuntime(name), foreign, name);
  for (const name of ['io.containerd.runc.v2', 'secure', 'mine']) t.same(resolveRuntime(name, mapped), foreign, name);
  t.same(resolveRuntime('usual', mapped), { kind: 'own' });

  const absent = ['io.containerd.plain.v1', 'io.containerd.dir.v1', 'io.containerd.none.v1', '/no/such/shim'];
  for (const name of absent) t.throws(() => resolveRuntime(name), { message: /binary not installed ".*": file/ }, name);
  for (const name of ['', 'kata', '.kata.v2', 'a/b.kata.v2', './kata.v2'])
    t.throws(() => resolveRuntime(name), { message: /invalid runtime name/ }, name);
  t.end();
});
