import t from 'tap';
import { defaultConfig, formatConfig, loadConfig, parseConfig } from './config.ts';

t.test('an absent file gives the defaults', async (t) => {
  t.same(await loadConfig('/nonexistent/gantry.toml'), { config: defaultConfig, warnings: [] });
});

t.test('what is formatted parses to the same, without warnings', (t) => {
  const gc = { ...defaultConfig.gc, pauseThreshold: 0.5, mutationThreshold: 0, startupDelayMs: 90_000 };
  const plugin = { name: 'x.y', type: 'snapshot' as const, address: '/x', snapshotter: 'y', platform: 'linux/arm64' };
  const proxyPlugins = [{ ...plugin, capabilities: ['a'], exports: { root: '/x"' } }];
  const config = {
    ...defaultConfig,
    proxyPlugins,
    overlayOptions: ['volatile', 'metacopy=on'],
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
  t.end();
});

t.test('a wrong value is an error with its path', (t) => {
  t.throws(() => parseConfig('root = 1', 'file'), { message: /file: root: must be text/ });
  t.throws(() => parseConfig('[grpc]\ngid = "x"', 'file'), { message: /grpc\.gid/ });
  t.throws(() => parseConfig('[debug]\nlevel = "loud"', 'file'), { message: /debug\.level: "loud"/ });
  t.throws(() => parseConfig('[gc]\nschedule_delay = "soon"', 'file'), { message: /gc\.schedule_delay: "soon"/ });
  t.throws(() => parseConfig('[gc]\npause_threshold = 0.7', 'file'), { message: /gc\.pause_threshold: 0\.7/ });
  const proxy = (text: string): unknown => parseConfig(`[proxy_plugins.p]\n${text}`, 'file');
  t.throws(() => proxy('type = "content"\naddress = "/x"'), { message: /p\.type: "content" is not "snapshot"/ });
  t.throws(() => proxy('type = "snapshot"\naddress = "x"'), { message: /p\.address: must be the path/ });
  t.throws(() => proxy('type = "snapshot"\naddress = "/x"\nadress = ""'), { message: /p\.adress: no such key/ });
  t.throws(() => parseConfig('[proxy_plugins.native]\ntype = "snapshot"\naddress = "/x"', 'f'), { message: /itself/ });
  t.throws(() => parseConfig('root =', 'file'), { code: 'invalid argument' });
  t.end();
});
