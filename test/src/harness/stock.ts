/** Debian's containerd with runc, started by the test with its own root, state and socket: the judge. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DaemonProcess } from './gantryd.ts';

/** A stock containerd below `dir`, without CRI; not started yet. `more` are lines of its configuration, `program` is another one. */
export function stockContainerd(
  dir: string,
  state = path.join(dir, 'state'),
  more: readonly string[] = [],
  program = 'containerd',
): DaemonProcess {
  mkdirSync(dir, { recursive: true });
  const address = path.join(dir, 'c.sock');
  const config = path.join(dir, 'config.toml');
  writeFileSync(
    config,
    [
      'version = 2',
      `root = "${path.join(dir, 'root')}"`,
      `state = "${state}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `  address = "${address}"`,
      '[plugins."io.containerd.internal.v1.opt"]',
      `  path = "${path.join(dir, 'opt')}"`,
      // Garbage goes after deletions, as with us, and not whenever so many calls have been made.
      '[plugins."io.containerd.gc.v1.scheduler"]',
      '  mutation_threshold = 1000000',
      ...more,
      '',
    ].join('\n'),
  );
  return new DaemonProcess('containerd', address, [program, '--config', config], path.join(dir, 'containerd.log'));
}
