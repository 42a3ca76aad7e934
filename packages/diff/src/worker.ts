/** A differ's worker process: takes one job after another from its parent (protocol.ts), dies with it. */
import { stat } from 'node:fs';
import { failpoint } from '@gantry/errors';
import { linux, PR_SET_PDEATHSIG, SIGKILL } from '@gantry/libc';
import { applyLayer } from './apply.ts';
import { compareTrees } from './compare.ts';
import { copyLayer } from './copy-layer.ts';
import { toWireError } from './protocol.ts';
import type { FromWorker, Job, ToWorker } from './protocol.ts';

/** Everything comes from a differ of the same build, spawned as its child. */
function isToWorker(message: unknown): message is ToWorker {
  return typeof message === 'object' && message !== null && 'job' in message;
}

async function run(job: number, work: Job): Promise<FromWorker> {
  try {
    await failpoint(`differ.${work.kind}.before`);
    const result = await resultOf(job, work);
    await failpoint(`differ.${work.kind}.after`);
    return { job, result };
  } catch (err) {
    return { job, error: toWireError(err) };
  }
}

async function resultOf(job: number, work: Job): Promise<Extract<FromWorker, { result: unknown }>['result']> {
  switch (work.kind) {
    case 'apply':
      return await applyLayer(linux, work.request, work.processors);
    case 'copy':
      return void (await copyLayer(linux, work.request));
    case 'compare':
      return await compareTrees(linux, work.request, async (chunk) => deliver(job, chunk));
  }
}

let taken: (() => void) | undefined;

/** Sends a piece of the blob and waits until it was taken: the parent's memory stays bounded. */
async function deliver(job: number, chunk: Uint8Array): Promise<void> {
  const answer = new Promise<void>((resolve) => {
    taken = resolve;
  });
  send({ job, chunk });
  await answer;
}

function send(message: FromWorker): void {
  process.send?.(message);
}

// libuv makes its threads at the first call that needs one. Born later, while this thread is in a mount namespace of its own,
// they would stay there, and share what keeps this thread from leaving it (setns(2), EINVAL).
stat('/', () => undefined);
linux.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL));
// The parent may have died before the line above; then the channel is already closed.
process.on('disconnect', () => process.exit(0));
if (!process.connected) process.exit(0);

process.on('message', (message: unknown) => {
  if (!isToWorker(message)) return;
  if ('taken' in message) taken?.();
  else void run(message.job, message.work).then(send);
});
