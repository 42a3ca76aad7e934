import t from 'tap';
import { codeOf, errorCodes, fromStatus, GantryError, notFound, statusNumbers, toStatus, wrap } from './index.ts';

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
