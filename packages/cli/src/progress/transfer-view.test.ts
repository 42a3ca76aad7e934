import t from 'tap';
import type { TransferProgress } from '@gantry/client';
import { TransferView } from './transfer-view.ts';

const digest = `sha256:${'ab'.repeat(32)}`;

function news(event: string, progress = 0n, total = 1000n, name = `layer-${digest}`): TransferProgress {
  return { event, name, parents: [], progress, total, digest, mediaType: '' };
}

t.test('without a terminal each change of a layer is a line', (t) => {
  let out = '';
  const view = new TransferView('pull', { write: (text) => void (out += text), columns: undefined });
  for (const event of ['waiting', 'downloading', 'downloading', 'complete', 'extracting', 'extracted'])
    view.update(news(event));
  view.update(news('waiting', 0n, 0n, `config-${digest}`));
  view.update(news('Resolving from somewhere'));
  view.end();
  t.equal(
    out,
    ['Waiting', 'Downloading', 'Download complete', 'Extracting', 'Pull complete']
      .map((state) => `abababababab: ${state}\n`)
      .join(''),
  );
  t.end();
});

t.test('a layer that needed no unpacking is complete in the end, if the pull was', (t) => {
  for (const [state, last] of [
    ['Pull complete', 'Pull complete'],
    [undefined, 'Download complete'],
  ] as const) {
    let out = '';
    const view = new TransferView('pull', { write: (text) => void (out += text), columns: undefined });
    view.update(news('complete'));
    view.end(state);
    t.equal(out.trimEnd().split('\n').at(-1), `abababababab: ${last}`);
  }
  t.end();
});

t.test('more layers than rows: only what can be reached is repainted', (t) => {
  let out = '';
  const view = new TransferView('pull', { write: (text) => void (out += text), columns: 80, rows: 4 });
  for (const digit of '0123456789') view.update({ ...news('waiting'), digest: `sha256:${digit.repeat(64)}` });
  out = '';
  view.end();
  const ids = ['7', '8', '9'].map((digit) => `\r\u001b[K${digit.repeat(12)}: Waiting\n`);
  t.equal(out, `\u001b[3A${ids.join('')}`);
  t.end();
});

t.test('on a terminal lines are repainted in place and never wrap', (t) => {
  for (const columns of [10, 40, 200]) {
    let out = '';
    const view = new TransferView('push', { write: (text) => void (out += text), columns });
    view.update(news('waiting'));
    view.update({ ...news('uploading', 500n), digest: `sha256:${'cd'.repeat(32)}` });
    view.update(news('already exists'));
    view.end();
    // eslint-disable-next-line no-control-regex
    const lines = out.split('\n').map((line) => line.replaceAll(/\u001b\[[0-9]*[A-Z]|\r/g, ''));
    t.ok(
      lines.every((line) => line.length <= columns),
      `${columns} columns`,
    );
    t.ok(out.includes('\u001b[2A\r\u001b[Kababab'), 'up by what was painted');
    if (columns === 200) t.match(out, /cdcdcdcdcdcd: Pushing \[=+> +\] 500B\/1kB\n$/);
  }
  t.end();
});
