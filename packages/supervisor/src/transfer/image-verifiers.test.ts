import t from 'tap';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { digestOf, mediaTypes } from '@gantry/oci';
import { verifyImage } from './image-verifiers.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-verifiers-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
const target = { mediaType: mediaTypes.manifest, digest: digestOf(Buffer.from('x')), size: 1 };
const name = 'example.com/box:1';
const never = new AbortController().signal;

let directories = 0;
/** A directory of shell scripts: name → script. */
function verifiers(scripts: Readonly<Record<string, string>>): string {
  const dir = path.join(scratch, String(++directories));
  mkdirSync(dir);
  for (const [file, script] of Object.entries(scripts)) {
    writeFileSync(path.join(dir, file), `#!/bin/sh\n${script}\n`);
    chmodSync(path.join(dir, file), 0o755);
  }
  return dir;
}

const logged: { readonly fields: object; readonly text: string }[] = [];
const note = (fields: object, text: string): void => void logged.push({ fields, text });
const judge = (directory: string, { maximum = 10, timeoutMs = 60_000, signal = never } = {}): Promise<void> =>
  verifyImage({ config: { directory, maximum, timeoutMs }, log: { debug: note, warn: note } }, name, target, signal);

t.test('an absent or empty directory lets everything come', async () => {
  await judge(path.join(scratch, 'absent'));
  await judge(verifiers({}));
});

t.test('a verifier gets name, digest and descriptor, and all must agree, in the order of their names', async (t) => {
  const noted = path.join(scratch, 'noted');
  const script = `echo "$0" "$@" >> ${noted}; cat >> ${noted}; echo fine; echo aside >&2`;
  await judge(verifiers({ b: script, a: script, B: script }));
  const lines = readFileSync(noted, 'utf8').trim().split('\n');
  t.same(
    lines.map((line) => line.replace(/^\S+\//, '')),
    ['B', 'a', 'b'].flatMap((file) => [
      `${file} -name ${name} -digest ${target.digest} -stdin-media-type application/vnd.oci.descriptor.v1+json`,
      JSON.stringify(target).replace(/^\S+\//, ''),
    ]),
  );
  t.match(logged.at(-1), { fields: { verifier: 'b', reason: 'fine', said: 'aside' } });
});

t.test('one that says no blocks the pull with its reason, and the rest is not asked', async (t) => {
  const after = path.join(scratch, 'after');
  const dir = verifiers({ a: 'exit 0', b: 'echo "  not signed  "; exit 3', c: `touch ${after}` });
  await t.rejects(judge(dir), {
    code: 'unknown',
    message: `image verifier bindir blocked pull of ${name} with digest ${target.digest} for reason: verifier b rejected image (exit code 3): not signed`,
  });
  t.notOk(existsSync(after));
  await judge(dir, { maximum: 1 });
  t.match(logged.at(-2), { text: 'image verifiers are skipped' });
  await t.rejects(judge(dir, { maximum: -1 }), { message: /rejected/ });
  const loud = verifiers({ a: 'head -c 100000 /dev/zero | tr "\\0" x; exit 1' });
  await t.rejects(judge(loud), { message: /: x{16384}\(stdout truncated\)$/ });
});

t.test('what cannot be asked blocks the pull', async (t) => {
  const file = verifiers({ a: 'exit 0' });
  chmodSync(path.join(file, 'a'), 0o644);
  await t.rejects(judge(file), { message: /^blocking pull of .* failed to call verifier a: .*EACCES/ });
  await t.rejects(judge(verifiers({ a: 'kill -9 $$' })), { message: /failed to call verifier a: signal SIGKILL/ });
  await t.rejects(judge('/dev/null'), { message: /failed to list directory contents/ });
});

t.test('one that takes too long, or whose pull is cancelled, ends with all that it has started', async (t) => {
  for (const how of ['late', 'cancelled']) {
    const noted = path.join(scratch, how);
    const dir = verifiers({ a: `sleep 1000 & echo $! > ${noted}.new; mv ${noted}.new ${noted}; wait` });
    const abort = new AbortController();
    const judged = judge(dir, how === 'late' ? { timeoutMs: 5000 } : { signal: abort.signal });
    const expected = how === 'late' ? { message: /no answer within 5 s/ } : { code: 'cancelled' };
    const refused = t.rejects(judged, expected, how);
    const settled = new AbortController();
    void refused.then(() => settled.abort());
    while (!existsSync(noted) && !settled.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 20));
    abort.abort();
    await refused;
    if (!existsSync(noted)) continue; // it was killed before it had begun
    const status = `/proc/${readFileSync(noted, 'utf8').trim()}/status`;
    const runs = (): boolean => {
      try {
        return !/^State:\tZ/m.test(readFileSync(status, 'utf8'));
      } catch {
        return false;
      }
    };
    while (runs()) await new Promise((resolve) => setTimeout(resolve, 20));
  }
});
