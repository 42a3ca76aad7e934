import t from 'tap';
import { spawnSync } from 'node:child_process';
import {
  codeOf,
  errorCodes,
  failpoint,
  failpointEnvironment,
  fromStatus,
  GantryError,
  ioError,
  notFound,
  statusNumbers,
  toStatus,
  wrap,
} from './index.ts';

t.test('a status carries the class text exactly once at the end of the message', (t) => {
  t.same(toStatus(notFound('container "web"')), { code: 5, message: 'container "web": not found' });
  t.same(toStatus(notFound('container "web": not found')), { code: 5, message: 'container "web": not found' });
  t.same(toStatus(new Error('boom')), { code: 2, message: 'boom' });
  t.same(toStatus('text'), { code: 2, message: 'text' });
  t.end();
});

t.test('every code survives the way over the wire and back', (t) => {
  for (const code of errorCodes) {
    const back = fromStatus(toStatus(new GantryError(code, 'subject')));
    t.equal(back.code, code);
    t.equal(back.message, 'subject');
  }
  t.equal(new Set(Object.values(statusNumbers)).size, errorCodes.length, 'no two codes share a number');
  t.end();
});

t.test('an unknown status number becomes an unknown error', (t) => {
  t.equal(fromStatus({ code: 99, message: 'odd' }).code, 'unknown');
  t.end();
});

t.test('wrapping keeps the code, the details and the cause', (t) => {
  const inner = notFound('snapshot "a"', { snapshot: 'a' });
  const outer = wrap(inner, 'preparing the rootfs');
  t.equal(codeOf(outer), 'not found');
  t.equal(outer.message, 'preparing the rootfs: snapshot "a"');
  t.same(outer.details, { snapshot: 'a' });
  t.equal(outer.cause, inner);
  t.equal(wrap(new Error('x'), 'doing', 'internal').code, 'internal', 'an unknown code can be given a class');
  t.equal(wrap(inner, 'doing', 'internal').code, 'not found', 'a known one stays');
  t.end();
});

t.test('what a file system says has a class, wherever it is said', (t) => {
  const failed = (code: string): Error => Object.assign(new Error(`${code}: some words`), { code });
  for (const code of ['ENOSPC', 'EDQUOT']) {
    t.match(ioError(failed(code), 'writing x', '/x'), {
      code: 'resource exhausted',
      message: `writing x: ${code}: some words`,
      details: { path: '/x' },
    });
  }
  t.match(ioError(failed('EROFS'), 'writing x'), { code: 'failed precondition' });
  t.match(ioError(failed('EIO'), 'writing x'), { code: 'unknown', message: 'writing x: EIO: some words' });
  const own = notFound('blob');
  t.equal(ioError(own, 'writing x'), own, 'what has a class keeps it');
  t.end();
});

t.test('failpoints are nothing where none is armed', async (t) => {
  t.equal(failpoint('anything'), undefined);
  t.same(failpointEnvironment, {});
});

t.test('failpoints fail, wait and kill as often as they are told', async (t) => {
  const program = `
    import { failpoint } from ${JSON.stringify(new URL('index.js', import.meta.url).href)};
    for (let n = 0; n < 3; n++) await failpoint('a').catch((err) => console.log(err.code, err.message));
    await failpoint('off');
    await failpoint('late');
    await failpoint('end');
    console.log('never');`;
  const run = (terms: string) =>
    spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      env: { ...process.env, GANTRY_FAILPOINTS: terms },
      encoding: 'utf8',
    });
  const { signal, stdout } = run('a=2*error(tired);off=off;late=delay(1);end=kill');
  t.same([signal, stdout], ['SIGKILL', 'internal tired\ninternal tired\n']);
  t.match(run('a=dance').stderr, /failpoint "a=dance"/, 'a term that is none is said');
});
