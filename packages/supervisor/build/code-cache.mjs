// What V8 has compiled of the bundle, kept beside it: a start then compiles nothing that an earlier one needed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect } from '@gantry/client';

const training = fileURLToPath(new URL('training.cjs', import.meta.url));
const timeoutMs = 20_000;

/** Starts a gantryd of its own below a temporary directory, asks it the first questions, and ends it. */
export async function makeCodeCache() {
  const dir = await mkdtemp(path.join(tmpdir(), 'gantry-build-'));
  const address = path.join(dir, 'g.sock');
  const config = path.join(dir, 'config.toml');
  await writeFile(config, '[shim]\nspares = 0\n');
  const dirs = ['--root', path.join(dir, 'root'), '--state', path.join(dir, 'state'), '--address', address];
  const gantryd = spawn(process.execPath, [training, ...dirs, '--config', config, '--log-level', 'error'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH },
  });
  let said = '';
  gantryd.stderr.on('data', (chunk) => (said += chunk));
  const ended = once(gantryd, 'exit');
  const timer = setTimeout(() => gantryd.kill('SIGKILL'), timeoutMs);
  try {
    while (!existsSync(address)) {
      if (gantryd.exitCode !== null || gantryd.signalCode !== null) throw new Error(said.trim());
      await sleep(10);
    }
    await ask(address);
    gantryd.kill('SIGTERM');
    const [code] = await ended;
    if (code !== 0) throw new Error(said.trim());
  } finally {
    clearTimeout(timer);
    gantryd.kill('SIGKILL');
    await ended;
    await rm(dir, { recursive: true, force: true });
  }
}

async function ask(address) {
  const client = connect({ address, namespace: 'default', timeoutMs });
  try {
    await client.version();
    await client.containers.list();
    await client.tasks.list();
  } finally {
    client.close();
  }
}
