import t from 'tap';
import {
  formatIdMap,
  gidMappingLabel,
  hostIdOf,
  idMapOptions,
  idMapsOfLabels,
  idMapsOfOptions,
  parseIdMap,
  reversedIdMaps,
  uidMappingLabel,
} from './id-map.ts';

t.test('a map is a list of ranges, and its text is what it was read from', (t) => {
  t.same(parseIdMap('0:100000:65536', 'x'), [{ containerID: 0, hostID: 100000, size: 65536 }]);
  const text = '0:1000:1,1:100000:65535,70000:5:2';
  const ranges = parseIdMap(text, 'x');
  t.equal(formatIdMap(ranges), text);
  t.same(
    [0, 1, 65535, 65536, 70001].map((id) => hostIdOf(ranges, id)),
    [1000, 100000, 165534, undefined, 6],
  );
  t.same(parseIdMap('0:0:4294967295', 'x'), [{ containerID: 0, hostID: 0, size: 4294967295 }], 'the whole range');
  t.end();
});

const refused: readonly (readonly [string, RegExp])[] = [
  ['', /"" is not container-id:host-id:length/],
  ['0:0', /"0:0" is not/],
  ['0:1:2:3', /is not/],
  ['0:1:2,', /"" is not/],
  [' 0:1:2', /is not/],
  ['0:1:2x', /is not/],
  ['0x0:1:2', /is not/],
  ['-1:1:2', /is not/],
  ['0:-1:2', /is not/],
  ['0:1:-2', /is not/],
  ['0:1:1e3', /is not/],
  ['0:1:99999999999999999999', /is not/],
  ['0:1:0', /is empty/],
  ['0:1:4294967295', /beyond the last id/],
  ['0:4294967295:1', /beyond the last id/],
  ['0:1:5,3:100:5', /0:1:5 and 3:100:5 overlap/],
  ['3:100:5,0:1:5', /overlap/],
  ['0:1:5,5:3:5', /0:1:5 and 5:3:5 overlap/],
  ['0:1:2,0:1:2', /overlap/],
  ['1:1:1', /no container's root/],
  [Array.from({ length: 341 }, (_, n) => `${n}:${n}:1`).join(','), /341 ranges, the kernel takes 340/],
];
for (const [text, message] of refused) {
  t.test(`refused: ${text.slice(0, 40)}`, (t) => {
    t.throws(() => parseIdMap(text, 'the field'), { code: 'invalid argument', message });
    t.throws(() => parseIdMap(text, 'the field'), { message: /^the field: / });
    t.end();
  });
}

t.test('labels and mount options ask for both maps or for none', (t) => {
  const maps = { uidMappings: parseIdMap('0:1:2', 'x'), gidMappings: parseIdMap('0:3:4', 'x') };
  t.same(idMapsOfLabels({ [uidMappingLabel]: '0:1:2', [gidMappingLabel]: '0:3:4', other: '' }), maps);
  t.equal(idMapsOfLabels({ other: 'x' }), undefined);
  t.throws(() => idMapsOfLabels({ [uidMappingLabel]: '0:1:2' }), {
    message: /uidmapping without label .*gidmapping/,
  });
  t.throws(() => idMapsOfLabels({ [gidMappingLabel]: '0:1:2' }), { code: 'invalid argument' });
  t.same(idMapOptions(maps), ['uidmap=0:1:2', 'gidmap=0:3:4']);
  t.same(idMapsOfOptions(['uidmap=0:1:2', 'ro', 'gidmap=0:3:4', 'lowerdir=/a']), {
    maps,
    others: ['ro', 'lowerdir=/a'],
  });
  t.same(idMapsOfOptions(['ro']), { maps: undefined, others: ['ro'] });
  t.throws(() => idMapsOfOptions(['uidmap=0:1:2']), { message: /uidmap without mount option gidmap/ });
  t.throws(() => idMapsOfOptions(['uidmap=x', 'gidmap=0:1:1']), { message: /^mount option uidmap: / });
  t.end();
});

t.test('reversed maps lead back', (t) => {
  const maps = { uidMappings: parseIdMap('0:1000:1,1:100000:9', 'x'), gidMappings: parseIdMap('0:5:1', 'x') };
  const back = reversedIdMaps(maps);
  t.equal(formatIdMap(back.uidMappings), '1000:0:1,100000:1:9');
  t.same(reversedIdMaps(back), maps);
  t.end();
});
