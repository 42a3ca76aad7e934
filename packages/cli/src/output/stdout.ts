/** Bytes to stdout, at the pace of whoever reads them. */

/** Throws what writing throws. */
export async function toStdout(source: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of source) {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (err) => (err ? reject(err) : resolve()));
    });
  }
}
