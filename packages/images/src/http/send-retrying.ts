/** Sends again what failed for a reason that may pass, within the bounds of a policy. */
import { unavailable } from '@gantry/errors';
import type { HttpRequest, HttpResponse, Send } from './http.ts';
import { sendFollowing } from './redirect.ts';
import { backoffMs, isTransient, pause, retryableStatuses, retryAfterMs } from './retry.ts';
import type { RetryPolicy } from './retry.ts';

/**
 * The first answer worth reading: any that another attempt would not change, or the last one. Redirects are followed
 * (redirect.ts). Throws what the last attempt threw, and at once what no attempt would mend.
 */
export async function sendRetrying(send: Send, request: HttpRequest, policy: RetryPolicy): Promise<HttpResponse> {
  for (let attempt = 1; attempt <= policy.attempts; attempt++) {
    let waitMs = backoffMs(policy, attempt);
    try {
      const response = await sendFollowing(send, request);
      const askedMs = retryAfterMs(response.header('retry-after'), Date.now()) ?? 0;
      const isLast = attempt === policy.attempts || askedMs > policy.maximumRetryAfterMs;
      if (isLast || !retryableStatuses.has(response.status)) return response;
      waitMs = Math.max(waitMs, askedMs);
      await response.discard();
    } catch (err) {
      if (attempt === policy.attempts || !isTransient(err)) throw err;
    }
    await pause(waitMs, request.signal);
  }
  throw unavailable('a retry policy must allow at least one attempt');
}
