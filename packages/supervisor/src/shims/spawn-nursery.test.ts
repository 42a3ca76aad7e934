/** The nursery that spawns. */
import t from 'tap';
import { SpawnNursery } from './spawn-nursery.ts';
import { inheritanceSuite } from './testing/inheritance-suite.ts';
import { nurserySuite } from './testing/nursery-suite.ts';

t.setTimeout(120_000);
nurserySuite(t, (parts) => new SpawnNursery(parts));
inheritanceSuite(t, (parts) => new SpawnNursery(parts), { forked: false });
