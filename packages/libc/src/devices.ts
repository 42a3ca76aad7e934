/** Device numbers in glibc's 64-bit encoding (makedev(3)); its low 32 bits are what mknod(2) takes. */

/** The device number of `major:minor`. */
export function makedev(majorNumber: number, minorNumber: number): bigint {
  const high = BigInt(majorNumber);
  const low = BigInt(minorNumber);
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | ((high & 0xffff_f000n) << 32n);
}

/** The major number of a device number. */
export function major(device: bigint): number {
  return Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n));
}

/** The minor number of a device number. */
export function minor(device: bigint): number {
  return Number((device & 0xffn) | ((device >> 12n) & 0xffff_ff00n));
}
