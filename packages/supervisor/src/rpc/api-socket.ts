/** The API's socket: one that a dead supervisor left is replaced, it is private from its first moment, and it says what it does. */
import { chmod, chown, lstat, unlink } from 'node:fs/promises';
import { alreadyExists, codeOf, messageOf, wrap } from '@gantry/errors';
import { TtrpcClient } from '@gantry/ttrpc';
import type { Config } from '../config/config.ts';
import type { Log } from '../log.ts';
import { grpcServer, listen } from './grpc-server.ts';
import type { CallObserver } from './grpc-server.ts';
import type { Binding } from './handlers.ts';

/** How long somebody who may listen on a socket in our way has to accept. */
const probeTimeoutMs = 1000;

/** Serves the bindings; the returned function ends that, and gives calls under way `drainMs`. Throws already exists. */
export async function serveApi(
  { address, socketGid }: Pick<Config, 'address' | 'socketGid'>,
  bindings: readonly Binding[],
  log: Log,
): Promise<(drainMs: number) => Promise<void>> {
  const server = grpcServer(bindings, observer(log));
  await removeStaleSocket(address);
  await listenPrivately(() => listen(server, address));
  if (socketGid !== undefined) {
    await chown(address, 0, socketGid);
    await chmod(address, 0o660);
  }
  return (drainMs) => server.close(drainMs);
}

/** A line a call at debug level, and one for every failure that is ours to explain. */
function observer(log: Log): CallObserver {
  return (rpc, durationMs, err) => {
    const fields = { rpc, dur_ms: Math.round(durationMs * 10) / 10 };
    if (err === undefined) log.debug(fields, 'call');
    else if (codeOf(err) === 'unknown' || codeOf(err) === 'internal' || codeOf(err) === 'data loss')
      log.error({ ...fields, err: err instanceof Error ? (err.stack ?? err.message) : String(err) }, 'call failed');
    else log.debug({ ...fields, code: codeOf(err), err: messageOf(err) }, 'call refused');
  };
}

/** A socket file of a supervisor that died goes; one that somebody listens on, and any other file, is refused. */
async function removeStaleSocket(address: string): Promise<void> {
  const found = await lstat(address).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw alreadyExists(`${address} is there and no socket`);
  try {
    const client = await TtrpcClient.connect(address, { timeoutMs: probeTimeoutMs });
    client.close();
  } catch (err) {
    if (codeOf(err) !== 'unavailable') throw wrap(err, `somebody listens on ${address}`);
    await unlink(address).catch(() => undefined);
    return;
  }
  throw alreadyExists(`somebody listens on ${address}`);
}

/** Makes the socket with mode 0600 from its first moment. */
async function listenPrivately(start: () => Promise<void>): Promise<void> {
  const before = process.umask(0o177);
  try {
    await start();
  } finally {
    process.umask(before);
  }
}
