/** BuildKit with its containerd worker, on gantryd and on a stock containerd: the same build, the same output, the same image. */
import t from 'tap';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DaemonProcess, missing, Pair, run } from '../index.ts';
import type { CommandResult, Side } from '../index.ts';

/** Debian 12 has no BuildKit: it is tested where one is on the PATH. */
const skip = missing('buildkitd', 'buildctl', 'containerd', 'runc', 'ctr', 'busybox') ?? false;
const image = 'docker.io/library/built:1';

/** What a build asks of a worker: mounts of all kinds, networks, users, stages, a cache, a failure further below. */
const dockerfile = `
FROM scratch AS base
COPY busybox /bin/busybox
SHELL ["/bin/busybox", "sh", "-euc"]
RUN /bin/busybox --install -s /bin && echo built > /hello && mkdir -p /etc && id
RUN echo "u:x:1000:1000::/:/bin/sh" > /etc/passwd && echo "u:x:1000:" > /etc/group
RUN --mount=type=cache,target=/cache echo once >> /cache/file; cat /cache/file
RUN --mount=type=tmpfs,target=/t --mount=type=bind,source=Dockerfile,target=/df touch /t/x; wc -l < /df; grep -c . /proc/self/mountinfo
RUN --mount=type=secret,id=word,target=/word cat /word; rm -r /bin/ls
FROM base
RUN --network=none ip -o link | wc -l
COPY --from=base /hello /copied
RUN ln /copied /linked && chmod 4755 /linked
USER 1000
RUN id -u; cat /proc/self/status | grep -E "^(Cap|NoNewPrivs|Seccomp)"
CMD ["cat", "/copied"]
`;

class Builder {
  readonly #side: Side;
  readonly #dir: string;
  readonly daemon: DaemonProcess;

  constructor(side: Side) {
    this.#side = side;
    this.#dir = path.join(side.dir, 'buildkit');
    mkdirSync(this.#dir);
    const socket = path.join(this.#dir, 'b.sock');
    const own = ['--root', path.join(this.#dir, 'root'), '--addr', `unix://${socket}`, '--oci-worker=false'];
    const worker = ['addr', 'namespace', 'net', 'snapshotter'].map((name) => `--containerd-worker-${name}`);
    const values = [side.daemon.address, side.namespace, 'host', 'overlayfs'];
    const settings = ['--containerd-worker=true', ...worker.map((name, at) => `${name}=${values[at] ?? ''}`)];
    const command = ['buildkitd', ...own, ...settings];
    this.daemon = new DaemonProcess('buildkitd', socket, command, path.join(this.#dir, 'log'));
  }

  call(...words: string[]): Promise<CommandResult> {
    return run('buildctl', ['--addr', `unix://${this.daemon.address}`, ...words], { timeoutMs: 120_000 });
  }

  /** Builds and stores the image. */
  build(text: string, ...more: string[]): Promise<CommandResult> {
    const context = path.join(this.#dir, 'context');
    mkdirSync(context, { recursive: true });
    copyFileSync('/bin/busybox', path.join(context, 'busybox'));
    writeFileSync(path.join(context, 'Dockerfile'), text);
    writeFileSync(path.join(this.#dir, 'word'), 'secret\n');
    const from = ['--frontend', 'dockerfile.v0', '--local', `context=${context}`, '--local', `dockerfile=${context}`];
    const secret = ['--secret', `id=word,src=${path.join(this.#dir, 'word')}`];
    const output = ['--output', `type=image,name=${image},unpack=true`];
    return this.call('build', '--progress=plain', ...from, ...secret, ...output, ...more);
  }

  async ctr(...words: string[]): Promise<string> {
    const { daemon, namespace } = this.#side;
    const { stdout, stderr } = await run('ctr', ['-a', daemon.address, '-n', namespace, ...words]);
    return stdout + stderr;
  }
}

/** The lines that the steps printed themselves, without BuildKit's numbers and times. */
function printed({ stdout, stderr }: CommandResult): string[] {
  const line = /^#\d+ \d+\.\d+ (.*)$/gm;
  return [...`${stdout}${stderr}`.matchAll(line)].map(([, text = '']) => text);
}

t.setTimeout(300_000);
t.test('BuildKit builds as on containerd', { skip, timeout: 280_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();
  const builders = [new Builder(pair.stock), new Builder(pair.ours)];
  const both = async <T>(act: (builder: Builder) => Promise<T>): Promise<void> => {
    const [theirs, ours] = [await act(builders[0] as Builder), await act(builders[1] as Builder)];
    t.same(ours, theirs);
  };
  try {
    for (const { daemon } of builders) await daemon.start();
    await both(async (builder) => {
      const result = await builder.build(dockerfile);
      t.equal(result.code, 0, result.stderr);
      t.ok(printed(result).includes('secret'));
      return printed(result);
    });
    await both(async (builder) => {
      const { stdout } = await builder.call('du', '--verbose');
      return stdout.match(/^(Type|Mutable):.*$/gm)?.sort();
    });
    await both((builder) => builder.ctr('run', '--rm', image, 'c'));
    await both(async (builder) => {
      const failed = await builder.build(`${dockerfile}RUN echo word && exit 9\n`);
      return { code: failed.code, printed: printed(failed), error: /exit code: \d+/.exec(failed.stderr)?.[0] };
    });
    await both(async (builder) => {
      await builder.ctr('images', 'rm', '--sync', image);
      t.equal((await builder.call('prune', '--all')).code, 0);
      const { stdout } = await builder.call('du');
      return stdout.match(/Total:.*/)?.[0];
    });
  } finally {
    for (const { daemon } of builders) await daemon.stop();
  }
  t.same(await pair.stop(), []);
});
