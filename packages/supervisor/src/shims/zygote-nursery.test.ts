/** The nursery that forks. */
import t from 'tap';
import { inheritanceSuite } from './testing/inheritance-suite.ts';
import { nurserySuite } from './testing/nursery-suite.ts';
import { ZygoteNursery } from './zygote-nursery.ts';

t.setTimeout(120_000);
nurserySuite(t, (parts) => new ZygoteNursery(parts));
inheritanceSuite(t, (parts) => new ZygoteNursery(parts), { forked: true });
