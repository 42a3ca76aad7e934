import t from 'tap';
import { userNamespaceOf } from './user-namespace.ts';

const none = { userns: undefined, uidmap: [], gidmap: [] };
const files: Readonly<Record<string, string>> = {
  '/etc/subuid': '# a comment\nother:1:2\nbox:100000:65536\nbox:300000:10\nwrong:x:5\nempty:5:0\n',
  '/etc/subgid': 'box:200000:65536\n',
};
const read = (file: string): string => files[file] ?? '';

t.test('without flags, or with --userns host, ids are the host’s', (t) => {
  t.equal(userNamespaceOf(none), undefined);
  t.equal(userNamespaceOf({ ...none, userns: 'host' }), undefined);
  t.end();
});

t.test('maps are given range by range; one of the two says both', (t) => {
  const ranges = [
    { containerID: 0, hostID: 100000, size: 10 },
    { containerID: 10, hostID: 5, size: 1 },
  ];
  const text = ['0:100000:10', '10:5:1'];
  t.same(userNamespaceOf({ ...none, uidmap: text }), { uidMappings: ranges, gidMappings: ranges });
  t.same(userNamespaceOf({ ...none, gidmap: text }), { uidMappings: ranges, gidMappings: ranges });
  const other = [{ containerID: 0, hostID: 7, size: 1 }];
  t.same(userNamespaceOf({ ...none, uidmap: text, gidmap: ['0:7:1'] }), { uidMappings: ranges, gidMappings: other });
  t.throws(() => userNamespaceOf({ ...none, uidmap: ['0:x:1'] }), { message: /^flag --uidmap: "0:x:1"/ });
  t.throws(() => userNamespaceOf({ ...none, gidmap: ['1:1:1'] }), { message: /^flag --gidmap: .*root/ });
  t.end();
});

t.test('a name stands for its subordinate ids', (t) => {
  t.same(userNamespaceOf({ ...none, userns: 'box' }, read), {
    uidMappings: [
      { containerID: 0, hostID: 100000, size: 65536 },
      { containerID: 65536, hostID: 300000, size: 10 },
    ],
    gidMappings: [{ containerID: 0, hostID: 200000, size: 65536 }],
  });
  const missing = { code: 'failed precondition', message: /"web" has ids in \/etc\/subuid: .*"web:100000:65536"/ };
  t.throws(() => userNamespaceOf({ ...none, userns: 'web' }, read), missing);
  t.throws(() => userNamespaceOf({ ...none, userns: 'other' }, read), { message: /subgid/ });
  t.throws(() => userNamespaceOf({ ...none, userns: 'wrong' }, read), { message: /subuid/ });
  t.throws(() => userNamespaceOf({ ...none, userns: 'empty' }, read), { message: /empty/ });
  t.end();
});

t.test('what cannot be meant is refused', (t) => {
  t.throws(() => userNamespaceOf({ ...none, userns: 'a:b' }, read), { code: 'invalid argument' });
  t.throws(() => userNamespaceOf({ ...none, userns: 'box', uidmap: ['0:1:1'] }, read), { message: /with --uidmap/ });
  t.throws(() => userNamespaceOf({ ...none, userns: 'host', uidmap: ['0:1:1'] }, read), { message: /with --uidmap/ });
  t.end();
});
