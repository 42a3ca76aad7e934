import t from 'tap';
import { isNumericUser, resolveUser } from './user.ts';

const files = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home:/bin/sh\nbroken line\nbig:x:99999999999:0::/:\n',
  group: 'root:x:0:\nalice:x:1001:\nstaff:x:50:bob,alice\nwheel:x:10:root\n',
};
const none = { passwd: undefined, group: undefined };

t.test('an absent user is root, with the groups that list root', (t) => {
  t.same(resolveUser('', files), { uid: 0, gid: 0, additionalGids: [0, 10] });
  t.same(resolveUser('', none), { uid: 0, gid: 0, additionalGids: [0] });
  t.end();
});

t.test('a name gets its passwd entry and its supplementary groups, the primary one included', (t) => {
  t.same(resolveUser('alice', files), { uid: 1000, gid: 1001, additionalGids: [50, 1001] });
  t.end();
});

t.test('every form of user and group is understood', (t) => {
  t.match(resolveUser('1000', files), { uid: 1000, gid: 1001 });
  t.match(resolveUser('4711', files), { uid: 4711, gid: 0 });
  t.match(resolveUser('alice:staff', files), { uid: 1000, gid: 50 });
  t.match(resolveUser('alice:7', files), { uid: 1000, gid: 7 });
  t.match(resolveUser('7:staff', files), { uid: 7, gid: 50 });
  t.same(resolveUser('7:8', none), { uid: 7, gid: 8, additionalGids: [8] });
  t.end();
});

t.test('a name without an entry is not found, also when there are no files', (t) => {
  t.throws(() => resolveUser('mallory', files), { code: 'not found', message: /user "mallory"/ });
  t.throws(() => resolveUser('alice', none), { code: 'not found' });
  t.throws(() => resolveUser('alice:nogroup', files), { code: 'not found', message: /group "nogroup"/ });
  t.end();
});

t.test('malformed users and ids out of range are refused', (t) => {
  for (const user of [':', 'a:', ':b', 'a:b:c', '4294967296', '0:99999999999']) {
    t.throws(() => resolveUser(user, files), { code: 'invalid argument' }, user);
  }
  t.throws(() => resolveUser('big', files), { code: 'not found' }, 'an entry with an impossible id is no entry');
  t.end();
});

t.test('only uid:gid needs no files', (t) => {
  t.ok(isNumericUser('1:2'));
  t.notOk(isNumericUser('1'));
  t.notOk(isNumericUser('1:staff'));
  t.end();
});
