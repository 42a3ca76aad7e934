import t from 'tap';
import { parseOptions } from './options.ts';
import { fullPlan, quickPlan } from './plan.ts';

const known = ['lifecycle', 'exec'];

t.test('without words everything is measured on both sides', (t) => {
  const options = parseOptions([], known);
  t.same(options.plan, fullPlan);
  t.equal(options.only, undefined);
  t.equal(options.sides, 'both');
  t.end();
});

t.test('samples change what is taken one at a time and only shrink the rounds', (t) => {
  const { plan } = parseOptions(['--samples', '2'], known);
  t.equal(plan.samples, 2);
  t.equal(plan.restarts, 2);
  t.equal(parseOptions(['--samples', '1000', '--quick'], known).plan.restarts, quickPlan.restarts);
  t.end();
});

t.test('what cannot be meant is refused', (t) => {
  t.throws(
    () => parseOptions(['--only', 'lifecycle,nonsense'], known),
    /no scenario "nonsense"; there are lifecycle, exec/,
  );
  t.throws(() => parseOptions(['--samples', '0'], known), /not a number above 0/);
  t.throws(() => parseOptions(['--gantry-only', '--peer-only'], known), /leave nothing/);
  t.throws(() => parseOptions(['--runtime', 'crun', '--peer-gantryd', 'x'], known), /--peer-gantryd replaces/);
  t.throws(() => parseOptions(['--nonsense'], known), /nonsense/);
  t.end();
});
