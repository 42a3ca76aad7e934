/** JSON numbers as the kernel's 64-bit integers. */

const maximumInt64 = 2n ** 63n - 1n;
const minimumInt64 = -(2n ** 63n);
const maximumUint64 = 2n ** 64n - 1n;

/** The nearest signed 64-bit integer: 2^63, to which doubles round 2^63 - 1, becomes 2^63 - 1. */
export function toInt64(value: number): bigint {
  const whole = BigInt(Math.trunc(value));
  if (whole > maximumInt64) return maximumInt64;
  return whole < minimumInt64 ? minimumInt64 : whole;
}

/** The nearest unsigned 64-bit integer: 2^64, to which doubles round 2^64 - 1, becomes 2^64 - 1; -1 too (all bits set). */
export function toUint64(value: number): bigint {
  const whole = BigInt(Math.trunc(value));
  return whole > maximumUint64 || whole < 0n ? maximumUint64 : whole;
}
