import t from 'tap';
import { parseMountPoints } from './container-view.ts';
import { errorsOf } from './log.ts';
import { decodeResponse, encodeRequest, typeName } from './messages.ts';

t.test('a request is what criu reads', (t) => {
  const bytes = encodeRequest({
    type: 'dump',
    options: {
      imagesDirFd: 7,
      pid: 300,
      leaveRunning: true,
      shellJob: false,
      logFile: 'dump.log',
      extMnt: [{ key: '/a', value: 'b' }],
      manageCgroupsMode: 'soft',
      emptyNs: 0x40000000,
      external: ['net[1]:extRootNetNS'],
      lsmMountContext: 'x',
    },
  });
  const options = [
    '0807', // images_dir_fd = 7
    '10ac02', // pid = 300
    '1801', // leave_running
    '3800', // shell_job = false
    `5208${Buffer.from('dump.log').toString('hex')}`,
    'ba01070a022f61120162', // ext_mnt { key "/a", val "b" }
    '900203', // manage_cgroups_mode = SOFT
    `aa0213${Buffer.from('net[1]:extRootNetNS').toString('hex')}`,
    'b0028080808004', // empty_ns
    'fa030178', // lsm_mount_context
  ].join('');
  t.equal(bytes.toString('hex'), `080112${(options.length / 2).toString(16)}${options}`);
  t.equal(encodeRequest({ type: 'notify', notifySuccess: true }).toString('hex'), '08061801');
  t.equal(encodeRequest({ type: 'featureCheck', features: ['memTrack'] }).toString('hex'), '08092a020801');
  t.end();
});

t.test('an answer of criu is understood, and what is none is refused', (t) => {
  const notify = Buffer.from('080610012a0c0a08706f73742d6475', 'hex');
  t.throws(() => decodeResponse(notify), { message: /malformed/ }, 'cut off');
  const restored = decodeResponse(Buffer.from('0802100122030890043801', 'hex'));
  t.match(restored, { type: 2, success: true, restoredPid: 528, errno: 1, notify: undefined });
  const told = decodeResponse(Buffer.from('080610012a080a047465737410094a0362616442020801', 'hex'));
  t.match(told, { notify: { script: 'test', pid: 9 }, message: 'bad' });
  t.same([...told.features], ['memTrack']);
  const negative = decodeResponse(Buffer.from('0801100038ffffffffffffffffff01', 'hex'));
  t.match(negative, { success: false, errno: -1 });
  for (const bad of ['ff', '0a', '0d00000000', '0a05', '2a0108', `08${'ff'.repeat(12)}`]) {
    t.throws(() => decodeResponse(Buffer.from(bad, 'hex')), { message: /malformed/ }, bad);
  }
  t.same([typeName(1), typeName(4), typeName(77)], ['DUMP', 'PRE_DUMP', '77']);
  t.end();
});

t.test('of criu’s log its last errors are quoted, without those that mean nothing', (t) => {
  const log = [
    '(00.000001) Version: 3.17.1',
    '(00.016001) Error (criu/util.c:642): exited, status=1',
    '(00.088005) Error (criu/tun.c:85): tun: Unable to create tun: No such file or directory',
    '(00.1) Warn  (criu/x.c:1): Error is near',
    ...[1, 2, 3, 4].map((n) => `(00.5) ${n === 3 ? '     7: ' : ''}Error (criu/z.c:${n}): reason ${n}`),
  ].join('\n');
  t.equal(errorsOf(log), 'Error (criu/z.c:2): reason 2; 7: Error (criu/z.c:3): reason 3; Error (criu/z.c:4): reason 4');
  t.equal(errorsOf(''), '');
  t.end();
});

t.test('mount points are read as the kernel writes them', (t) => {
  const line = (id: number, place: string): string => `${id} 1 0:3 / ${place} rw - tmpfs tmpfs rw`;
  const points = parseMountPoints(`${line(21, '/')}\n${line(22, '/a\\040b\\134c')}\n${line(23, '/Ã¼')}\n`);
  t.same(
    [...points],
    [
      [21, '/'],
      [22, '/a b\\c'],
      [23, '/ü'],
    ],
  );
  t.end();
});
