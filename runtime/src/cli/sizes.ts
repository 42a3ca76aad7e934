/** Numbers of bytes as people write them: `512m`, `1.5g`, `64KiB`, `-1`. */
import { invalidArgument } from '@gantry/errors';

const powers = 'kmgtp';

/** Bytes; units are powers of 1024. Invalid argument for anything else. */
export function parseSize(text: string, flag: string): number {
  const match = /^(-1|\d+(?:\.\d+)?) ?(?:([kmgtp])i?b?|b)?$/i.exec(text);
  const [, amount = '', unit = ''] = match ?? [];
  const value = Math.trunc(Number(amount) * 1024 ** (unit === '' ? 0 : powers.indexOf(unit.toLowerCase()) + 1));
  if (match !== null && Number.isSafeInteger(value)) return value;
  throw invalidArgument(`invalid value for ${flag}: ${JSON.stringify(text)}`);
}
