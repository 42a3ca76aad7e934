import t from 'tap';
import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_STRICTATIME,
  MS_PRIVATE,
  MS_SHARED,
  MS_SLAVE,
} from '@gantry/libc';
import { parseMountOptions, rootPropagation } from './mount-options.ts';

t.test('the usual words become attributes, the rest the file system’s data', (t) => {
  const options = parseMountOptions(['nosuid', 'noexec', 'nodev', 'mode=755', 'size=65536k', 'defaults'], 'f');
  t.same(options.attributes, { set: MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV, clear: 0 });
  t.same(options.data, ['mode=755', 'size=65536k']);
  t.same(options.superFlags, []);
  t.equal(options.bind, 'no');
  t.end();
});

t.test('of two words that contradict each other the later wins', (t) => {
  t.same(parseMountOptions(['ro', 'rw'], 'f').attributes, { set: 0, clear: MOUNT_ATTR_RDONLY });
  t.same(parseMountOptions(['ro', 'rw'], 'f').superFlags, []);
  t.same(parseMountOptions(['rw', 'ro'], 'f').attributes, { set: MOUNT_ATTR_RDONLY, clear: 0 });
  t.same(parseMountOptions(['rw', 'ro'], 'f').superFlags, ['ro']);
  t.same(parseMountOptions(['sync', 'async'], 'f').superFlags, []);
  t.end();
});

t.test('an access time setting replaces the whole field', (t) => {
  const { attributes } = parseMountOptions(['noatime', 'strictatime'], 'f');
  t.equal(attributes.set & MOUNT_ATTR__ATIME, MOUNT_ATTR_STRICTATIME);
  t.equal(attributes.clear & MOUNT_ATTR__ATIME, MOUNT_ATTR__ATIME, 'the kernel wants all of it cleared');
  t.equal(parseMountOptions(['noatime'], 'f').attributes.set, MOUNT_ATTR_NOATIME);
  t.equal(parseMountOptions(['noatime', 'relatime'], 'f').attributes.set, MOUNT_ATTR_NOATIME, 'the strictest wins');
  t.equal(parseMountOptions(['strictatime', 'noatime'], 'f').attributes.set, MOUNT_ATTR_STRICTATIME);
  t.same(parseMountOptions(['noatime', 'atime'], 'f').attributes, { set: 0, clear: MOUNT_ATTR__ATIME });
  t.equal(parseMountOptions(['rnoatime', 'rrelatime'], 'f').recursiveAttributes?.set, MOUNT_ATTR_NOATIME);
  t.end();
});

t.test('recursive words and propagation are kept apart', (t) => {
  const options = parseMountOptions(['rbind', 'rro', 'rnosuid', 'rprivate', 'shared'], 'f');
  t.equal(options.bind, 'recursive');
  t.same(options.recursiveAttributes, { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, clear: 0 });
  t.same(options.attributes, { set: 0, clear: 0 });
  t.same(options.propagation, [
    { type: MS_PRIVATE, recursive: true },
    { type: MS_SHARED, recursive: false },
  ]);
  t.end();
});

t.test('a bind mount has no file system to tell anything', (t) => {
  t.throws(() => parseMountOptions(['bind', 'size=1k'], 'f'), /filesystem-specific options/);
  t.match(parseMountOptions(['remount', 'bind', 'ro'], 'f'), { remount: true, bind: 'one' });
  t.end();
});

t.test('without a word for it the host’s mounts come in and nothing goes out', (t) => {
  t.same(rootPropagation(undefined), { type: MS_SLAVE, recursive: true });
  t.same(rootPropagation('private'), { type: MS_PRIVATE, recursive: false });
  t.same(rootPropagation('rshared'), { type: MS_SHARED, recursive: true });
  t.end();
});
