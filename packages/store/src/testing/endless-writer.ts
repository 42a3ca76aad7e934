/** Program for the crash test: counts up in the store given as argument, printing every number that was acknowledged. */
import { openStore } from '../lmdb-store.ts';

const store = await openStore(process.argv[2] ?? '', { minimumFreeBytes: 0 });
const start = Number(Buffer.from(store.get(['last']) ?? Buffer.from('0')).toString('latin1'));
const reader = store.snapshot();
for (let number = start + 1; ; number++) {
  const bytes = Buffer.from(String(number));
  await store.transact((tx) => {
    tx.put(['last'], bytes);
    tx.put(['number', String(number)], bytes);
  });
  reader.get(['last']);
  process.stdout.write(`${number}\n`);
}
