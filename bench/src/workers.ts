/** Runs many small jobs, so many at once. */

/**
 * Calls `job` with 0 … count-1, at most `width` at a time. After a failure nothing more is begun; what is under way is
 * awaited, and the first failure is thrown.
 */
export async function atOnce(width: number, count: number, job: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (next < count && failures.length === 0) {
      const index = next;
      next += 1;
      try {
        await job(index);
      } catch (err) {
        failures.push(err);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
  if (failures.length > 0) throw failures[0];
}
