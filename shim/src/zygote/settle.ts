/** Brings the heap into the state that children shall share: what was needed once is gone, what stays lies still. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export function settle(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round++) collect();
}
