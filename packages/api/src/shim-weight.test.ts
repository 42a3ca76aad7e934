import t from 'tap';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Every compiled module that importing `file` loads, itself included. */
function reach(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(file, 'utf8');
  for (const [, name = ''] of text.matchAll(/^(?:import|export)\b[^;]*?from '(\.[^']+)'/gm)) {
    reach(path.resolve(path.dirname(file), name), seen);
  }
  return seen;
}

t.test('the shim entry does not reach what only the supervisor needs', (t) => {
  const entry = fileURLToPath(new URL('./shim.js', import.meta.url));
  const room = path.dirname(entry);
  const modules = [...reach(entry)].map((file) => path.relative(room, file));
  t.ok(modules.includes('gen/containerd/task/v3.js'));
  const services = modules.filter((name) => name.startsWith('gen/containerd/services/'));
  t.strictSame(services, ['gen/containerd/services/events/ttrpc/v1.js']);
  t.notOk(modules.includes('gen/all-messages.js'));
  t.end();
});

t.test('no codec but our own is loaded at run time', (t) => {
  const entry = fileURLToPath(new URL('./index.js', import.meta.url));
  const foreign = [...reach(entry)].filter((file) => /from '(?!\.|node:|@gantry\/)/.test(readFileSync(file, 'utf8')));
  t.strictSame(foreign, []);
  t.end();
});
