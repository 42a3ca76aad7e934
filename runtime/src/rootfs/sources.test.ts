import t from 'tap';
import { AT_RECURSIVE, MS_PRIVATE, RecordingSyscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { Descriptors } from '../clean-up.ts';
import { rootPropagation } from './mount-options.ts';
import { overlayOptions } from './overlay.ts';
import { openRootfs, planMounts } from './sources.ts';

const base = rootPropagation(undefined);
const spec: Spec = { ociVersion: '1.0.0', root: { path: 'rootfs' } };

t.test('a long list of layers is given layer by layer, a short one as it is', (t) => {
  const short = 'lowerdir=/a:/b';
  t.same(overlayOptions([short, 'index=off']), [short, 'index=off']);
  const layers = Array.from({ length: 10 }, (_, n) => `/a/rather/long/path/of/a/layer/number/${n}`);
  t.same(
    overlayOptions([`lowerdir=${layers.join(':')}`]),
    layers.map((layer) => `lowerdir+=${layer}`),
  );
  const odd = `/with\\:colon${'x'.repeat(300)}`;
  t.same(overlayOptions([`lowerdir=${odd}:/b`]), [`lowerdir+=${odd.replace('\\:', ':')}`, 'lowerdir+=/b']);
  t.end();
});

t.test('the rootfs directory is copied without following a symlink and cut off from the host before use', (t) => {
  const sys = new RecordingSyscalls();
  using descriptors = new Descriptors(sys);
  const [root] = openRootfs(sys, { rootfs: [], bundle: '/b', spec }, descriptors);
  t.same(sys.names(), ['openat', 'openTree', 'mountSetattr', 'close']);
  t.equal(sys.argumentsOf('openat')[0]?.[1], '/b/rootfs');
  t.same(sys.argumentsOf('mountSetattr')[0]?.slice(2), [
    AT_RECURSIVE | 0x1000,
    { set: 0, clear: 0, propagation: MS_PRIVATE },
  ]);
  t.equal(root?.destination, '/');
  t.end();
});

t.test(
  'an overlay snapshot becomes a detached mount; a refusal carries the kernel’s words and closes everything',
  (t) => {
    const rootfs = [
      { type: 'overlay', source: 'overlay', options: ['lowerdir=/l', 'upperdir=/u', 'workdir=/w', 'userxattr'] },
    ];
    const sys = new RecordingSyscalls();
    {
      using descriptors = new Descriptors(sys);
      openRootfs(sys, { rootfs, bundle: '/b', spec }, descriptors);
    }
    t.same(sys.names(), [
      'fsopen',
      ...Array.from({ length: 4 }, () => 'fsconfigString'),
      'fsconfigFlag',
      'fsconfigCreate',
      'fsmount',
      'close',
      'close',
    ]);
    t.same(sys.openDescriptors(), []);

    const refusing = new RecordingSyscalls()
      .fail('fsconfigCreate', 1, 'EINVAL')
      .answer('readFsContextLog', 'workdir and upperdir differ');
    using none = new Descriptors(refusing);
    t.throws(
      () => openRootfs(refusing, { rootfs, bundle: '/b', spec }, none),
      /rootfs\[0\]: mounting overlay: workdir and upperdir differ: EINVAL/,
    );
    t.same(refusing.openDescriptors(), []);
    t.end();
  },
);

t.test('a bind source is opened by the parent, relative ones below the bundle', (t) => {
  const sys = new RecordingSyscalls();
  using descriptors = new Descriptors(sys);
  const [volume, tmpfs] = planMounts(
    sys,
    {
      ociVersion: '1.0.0',
      mounts: [
        { destination: 'data/../data', source: 'volume', options: ['bind', 'ro'] },
        { destination: '/tmp', type: 'tmpfs', source: 'tmpfs' },
      ],
    },
    '/b',
    base,
    descriptors,
  );
  t.equal(sys.argumentsOf('openTree')[0]?.[1], '/b/volume');
  t.equal(volume?.destination, '/data');
  t.equal(volume?.type, 'bind');
  t.ok(volume?.tree);
  t.notOk(tmpfs?.tree);
  t.end();
});
