/** An error as one sentence for people. */
import { codeOf, messageOf } from '@gantry/errors';
import type { ErrorCode } from '@gantry/errors';

/** Classes whose message names only the subject: `container "web"`. The others are sentences already. */
const subjectOnly: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['not found', 'already exists']);

export function sentence(err: unknown): string {
  const text = messageOf(err);
  const code = codeOf(err);
  return subjectOnly.has(code) && !text.endsWith(code) ? `${text}: ${code}` : text;
}
