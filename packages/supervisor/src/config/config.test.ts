import t from 'tap';
import { defaultConfig, formatConfig, loadConfig, parseConfig } from './config.ts';

t.test('an absent file gives the defaults', async (t) => {
  t.same(await loadConfig('/nonexistent/gantry.toml'), { config: defaultConfig, warnings: [] });
});

t.test('what is formatted parses to the same, without warnings', (t) => {
  const gc = { ...defaultConfig.gc, pauseThreshold: 0.5, mutationThreshold: 0, startupDelayMs: 90_000 };
  const plugin = { name: 'x.y', type: 'snapshot' as const, address: '/x', farName: 'y', platform: 'linux/arm64' };
  const differ = { ...plugin, name: 'd', type: 'diff' as const, farName: 'd', capabilities: [], exports: {} };
  const proxyPlugins = [{ ...plugin, capabilities: ['a'], exports: { root: '/x"' } }, differ];
  const processor = { name: 'p.q', accepts: ['a/b'], returns: 'c/d', path: 'p', args: ['-x'], env: ['A=b=c'] };
  const config = {
    ...defaultConfig,
    proxyPlugins,
    diff: { order: ['d', 'walking'], syncFs: true },
    streamProcessors: [processor, { ...processor, name: 'r', args: [], env: [] }],
    imageVerifier: { directory: '/v', maximum: -1, timeoutMs: 2500 },
    overlayOptions: ['volatile', 'metacopy=on'],
    slowChown: true,
    foreignLayers: false,
    concurrentDownloads: 7,
    concurrentUploads: 1,
    sharingPolicy: 'isolated' as const,
    root: '/r',
    socketGid: 12,
    logLevel: 'debug' as const,
    gc,
  };
  t.same(parseConfig(formatConfig(config), 'x'), { config, warnings: [] });
  t.same(parseConfig(formatConfig(defaultConfig), 'x'), { config: defaultConfig, warnings: [] });
  t.end();
});

t.test('an unknown key is a warning with its path', (t) => {
  const { warnings } = parseConfig('rot = "x"\n[grpc]\nadress = "y"\n', 'file');
  t.same(warnings, ['file: unknown key rot is ignored', 'file: unknown key grpc.adress is ignored']);
  const cri = parseConfig(
    '[plugins."io.containerd.cri.v1.images"]\nx = 1\n[proxy_plugins.c]\ntype = "io.containerd.content.v1"\naddress = "/c"',
    'f',
  );
  t.same(cri.warnings, ['f: unknown key plugins."io.containerd.cri.v1.images" is ignored']);
  t.equal(cri.config.proxyPlugins[0]?.type, 'content');
  t.end();
});

t.test('a wrong value is an error with its path', (t) => {
  t.throws(() => parseConfig('root = 1', 'file'), { message: /file: root: must be text/ });
  t.throws(() => parseConfig('[overlayfs]\nslow_chown = 1', 'file'), { message: /slow_chown: must be true or false/ });
  t.throws(() => parseConfig('[content]\nsharing_policy = "some"', 'f'), { message: /"some" is not one of shared, i/ });
  t.throws(() => parseConfig('[registry]\nmax_concurrent_downloads = 0', 'f'), { message: /must be more than 0/ });
  t.throws(() => parseConfig('[grpc]\ngid = "x"', 'file'), { message: /grpc\.gid/ });
  t.throws(() => parseConfig('[debug]\nlevel = "loud"', 'file'), { message: /debug\.level: "loud"/ });
  t.throws(() => parseConfig('[gc]\nschedule_delay = "soon"', 'file'), { message: /gc\.schedule_delay: "soon"/ });
  t.throws(() => parseConfig('[gc]\npause_threshold = 0.7', 'file'), { message: /gc\.pause_threshold: 0\.7/ });
  const proxy = (text: string): unknown => parseConfig(`[proxy_plugins.p]\n${text}`, 'file');
  t.throws(() => proxy('type = "contents"\naddress = "/x"'), {
    message: /p\.type: "contents" is not one of snapshot, /,
  });
  t.throws(() => proxy('type = "diff"\naddress = "/x"\nsnapshotter = "x"'), { message: /p\.snapshotter: only/ });
  t.throws(() => proxy('type = "snapshot"\naddress = "x"'), { message: /p\.address: must be the path/ });
  t.throws(() => proxy('type = "snapshot"\naddress = "/x"\nadress = ""'), { message: /p\.adress: no such key/ });
  t.throws(() => parseConfig('[proxy_plugins.native]\ntype = "snapshot"\naddress = "/x"', 'f'), { message: /itself/ });
  t.throws(() => parseConfig('[proxy_plugins.walking]\ntype = "diff"\naddress = "/x"', 'f'), { message: /itself/ });
  const plugin = (text: string): unknown => parseConfig(`[plugins."io.containerd.${text}`, 'file');
  t.throws(() => plugin('service.v1.diff-service"]\ndefault = ["x"]'), { message: /needed differ not loaded: "x"/ });
  t.throws(() => plugin('service.v1.diff-service"]\nsync_fs = 1'), { message: /sync_fs: must be true or false/ });
  t.throws(() => plugin('image-verifier.v1.bindir"]\nper_verifier_timeout = "x"'), {
    message: /"x" is not a duration/,
  });
  const twice =
    '[proxy_plugins.a]\ntype = "content"\naddress = "/x"\n[proxy_plugins.b]\ntype = "content"\naddress = "/x"';
  t.throws(() => parseConfig(twice, 'file'), { message: /one of type "content"/ });
  const decoder = (text: string): unknown => parseConfig(`[stream_processors.p]\n${text}`, 'file');
  t.throws(() => decoder('accepts = []\nreturns = "a"\npath = "b"'), { message: /p\.accepts: must name/ });
  t.throws(() => decoder('accepts = ["a"]\npath = "b"'), { message: /p\.returns: must be text/ });
  t.throws(() => decoder('accepts = ["a"]\nreturns = "a"\npath = "b"\nenv = ["A"]'), { message: /is not NAME=value/ });
  t.throws(() => parseConfig('root =', 'file'), { code: 'invalid argument' });
  t.end();
});
