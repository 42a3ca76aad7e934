/** The nursery that spawns. */
import t from 'tap';
import { SpawnNursery } from './spawn-nursery.ts';
import { nurserySuite } from './testing/nursery-suite.ts';

t.setTimeout(120_000);
nurserySuite(t, (parts) => new SpawnNursery(parts));
