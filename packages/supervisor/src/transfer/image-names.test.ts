import t from 'tap';
import { transferTypes } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { annotations, digestOf, mediaTypes } from '@gantry/oci';
import { archivedRecords, ownRecords } from './image-names.ts';

const digest = digestOf(Buffer.from('x'));
const target = { mediaType: mediaTypes.manifest, digest, size: 1 };
const whole = { ...target, annotations: { [annotations.imageName]: 'example.com/box:1', [annotations.refName]: '1' } };
const tagged = { ...target, annotations: { [annotations.refName]: '2' } };

/** The names that an archive's image gets by these rules. */
function named(image: typeof target, ...rules: PartialMessage<transferTypes.ImageReference>[]): (string | undefined)[] {
  const extraReferences = rules.map((rule) => ({ isPrefix: true, ...rule }));
  const store = transferTypes.ImageStore.create({ extraReferences });
  return archivedRecords(store, image).map(({ name }) => name);
}

t.test('an image of an archive has the name that it carries, when the request lets any in', (t) => {
  const any = { name: 'import-2024-01-01', allowOverwrite: true };
  t.same(named(whole, any), ['example.com/box:1']);
  t.same(named(tagged, any), ['import-2024-01-01:2']);
  t.same(named(target, any), []);
  t.end();
});

t.test('of whole names only those that begin with the prefix are taken, and none is changed', (t) => {
  t.same(named(whole, { name: 'example.com/box' }), ['example.com/box:1']);
  t.same(named(whole, { name: 'example.com' }), ['example.com/box:1']);
  t.same(named(whole, { name: 'example.com/bo' }), []);
  t.same(named(whole, { name: 'foo/bar' }), []);
  t.same(named(tagged, { name: 'foo/bar' }), ['foo/bar:2']);
  t.end();
});

t.test('names by digest are for what has no other, or for all', (t) => {
  const byDigest = `foo/bar@${digest}`;
  t.same(named(whole, { name: 'foo/bar', addDigest: true }), [byDigest]);
  t.same(named(tagged, { name: 'foo/bar', addDigest: true }), ['foo/bar:2', byDigest]);
  t.same(named(tagged, { name: 'foo/bar', addDigest: true, skipNamedDigest: true }), ['foo/bar:2']);
  t.same(named(target, { name: 'foo/bar', addDigest: true, skipNamedDigest: true }), [byDigest]);
  t.end();
});

t.test('what comes from a registry has the store’s name, and further ones that go with it', (t) => {
  const extraReferences = [{ name: 'b:1' }, { name: 'c', addDigest: true }, { name: 'd', isPrefix: true }];
  const store = transferTypes.ImageStore.create({ name: 'a:1', labels: { k: 'v' }, extraReferences });
  const records = ownRecords(store, target);
  t.same(
    records.map(({ name }) => name),
    ['a:1', 'b:1', `c@${digest}`],
  );
  t.same(records[0]?.labels, { k: 'v' });
  t.equal(records[1]?.labels?.['containerd.io/gc.bref.image'], 'a:1');
  t.end();
});
