import t from 'tap';
import { readFileSync } from 'node:fs';
import { crowdAddresses } from './address-space.ts';

/** Bytes of mappings that nobody may read or write. */
function reserved(): bigint {
  const lines = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return lines
    .filter((line) => line.includes(' ---p '))
    .map((line) => line.split(/[- ]/).slice(0, 2))
    .reduce((sum, [start, end]) => sum + BigInt(`0x${end}`) - BigInt(`0x${start}`), 0n);
}

t.test('crowded addresses are taken, cost nothing and are given back', async (t) => {
  const before = reserved();
  const residentBefore = process.memoryUsage.rss();
  const spreadOut = crowdAddresses();
  const taken = reserved() - before;
  t.ok(taken > 1n << 45n, `${taken} bytes of addresses are taken`);
  t.ok(process.memoryUsage.rss() - residentBefore < 2 ** 24, 'no memory is');
  spreadOut();
  t.ok(reserved() - before < 1n << 40n, 'they are free again');
});
