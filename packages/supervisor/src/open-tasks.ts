/** Tasks and sandboxes, with what starts shims and hears from them. */
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '@gantry/errors';
import type { Config } from './config/config.ts';
import { proxiesOf } from './config/proxy-plugins.ts';
import type { EventExchange } from './events/exchange.ts';
import { eventReceiver } from './events/receiver.ts';
import type { Log } from './log.ts';
import { ProxySandboxController } from './proxy/proxy-sandbox-controller.ts';
import type { SandboxController } from './sandboxes/sandbox-controller.ts';
import { Sandboxes } from './sandboxes/sandboxes.ts';
import { ShimController } from './sandboxes/shim-controller.ts';
import { sealedNode } from './shims/sealed-node.ts';
import { ForkOrSpawnNursery } from './shims/nursery-with-fallback.ts';
import { ForeignShims } from './shims/foreign/foreign-shims.ts';
import { gantrydEntry } from './shims/shim-program.ts';
import { SpareLauncher } from './shims/spare-launcher.ts';
import { Bundles } from './tasks/bundle.ts';
import { TaskManager } from './tasks/manager.ts';
import { TaskRecords } from './tasks/record.ts';
import { defaultTimeouts } from './timeouts.ts';
import { keepDescriptorsFromChildren } from './descriptors.ts';
import type { Teardown } from './teardown.ts';

/** The tasks, none looked for yet, with what starts shims and hears from them. */
export async function openTasks(
  { address, binaries, runtimes, spareShims, state }: Config,
  events: EventExchange,
  log: Log,
  teardowns: Teardown[],
): Promise<{ manager: TaskManager; launcher: SpareLauncher; sandboxes: Sandboxes }> {
  const timeouts = defaultTimeouts;
  const eventsPath = `${address}.ttrpc`;
  keepDescriptorsFromChildren();
  const node = await sealedNode(state, log);
  teardowns.push(node.close);
  const bundles = new Bundles(state);
  await bundles.prepare();
  const shimLog = openSync(path.join(state, 'shims.log'), 'w', 0o600);
  teardowns.push(() => closeSync(shimLog));
  const nursery = new ForkOrSpawnNursery({
    node: node.path,
    scratch: path.join(state, 'zygote'),
    logFd: shimLog,
    timeouts,
    log,
  });
  const launcher = new SpareLauncher({
    nursery,
    spares: spareShims,
    socketDir: bundles.spareDir,
    eventsPath,
    node: node.path,
    timeouts,
    log,
  });
  teardowns.push(() => launcher.close());
  const records = new TaskRecords(state);
  records.prepare();
  const foreign = new ForeignShims({ address, eventsPath, publishBinary: gantrydEntry(), timeouts, log });
  const sandboxes = new Sandboxes({ state, foreign, runtimes, timeouts, log });
  sandboxes.prepare();
  void sandboxes.reconcile();
  teardowns.push(() => sandboxes.close());
  const manager = new TaskManager({ records, bundles, launcher, foreign, runtimes, binaries, events, timeouts, log });
  teardowns.push(() => manager.close());
  const receiver = eventReceiver(
    events,
    (envelope) => manager.observe(envelope),
    (err) => log.debug({ err: messageOf(err) }, 'event socket'),
  );
  await receiver.listen(`${address}.ttrpc`, { mode: 0o600 });
  teardowns.push(() => receiver.close());
  return { manager, launcher, sandboxes };
}

/** The shims as a controller of sandboxes, and those in other processes. */
export function openControllers(
  { proxyPlugins }: Config,
  sandboxes: Sandboxes,
  teardowns: Teardown[],
): readonly SandboxController[] {
  const others = proxiesOf(proxyPlugins, 'sandbox').map(
    (plugin) => new ProxySandboxController(plugin, defaultTimeouts),
  );
  for (const other of others) teardowns.push(() => other.close());
  return [new ShimController(sandboxes, defaultTimeouts), ...others];
}
