import t from 'tap';
import { parseChallenges } from './challenge.ts';
import { mergeScopes, repositoryScope, splitScopes } from './scope.ts';

t.test('challenges are read however they are written', (t) => {
  const bearer = {
    scheme: 'bearer',
    parameters: { realm: 'https://a/token', service: 'a', scope: 'repository:x:pull,push' },
  };
  t.same(parseChallenges(['Bearer realm="https://a/token",service="a",scope="repository:x:pull,push"']), [bearer]);
  t.same(parseChallenges(['bearer Realm = "https://a/token" , service=a,scope="repository:x:pull,push"']), [bearer]);
  t.same(parseChallenges(['Basic realm="x, \\"y\\"", Bearer realm=https://a/t']), [
    { scheme: 'basic', parameters: { realm: 'x, "y"' } },
    { scheme: 'bearer', parameters: { realm: 'https://a/t' } },
  ]);
  t.same(
    parseChallenges(['Basic', 'Negotiate']).map(({ scheme }) => scheme),
    ['basic', 'negotiate'],
  );
  t.same(parseChallenges(['Bearer realm="first",realm="second"'])[0]?.parameters, { realm: 'first' });
  t.end();
});

t.test('malformed challenges end without an error, and soon', (t) => {
  for (const header of [
    '',
    ',,,',
    '=',
    'Bearer realm="',
    'Bearer realm=',
    '"x"',
    'realm="x"',
    '\u0000',
    'B'.repeat(100_000),
    `Bearer ${'a="b",'.repeat(50_000)}`,
  ]) {
    t.ok(parseChallenges([header]).length <= 1, header.slice(0, 20));
  }
  t.end();
});

t.test('scopes are sorted and each repository is named once', (t) => {
  t.same(mergeScopes(['repository:b:pull', 'repository:a/x:push,pull'], ['repository:b:push', 'registry:catalog:*']), [
    'registry:catalog:*',
    'repository:a/x:pull,push',
    'repository:b:pull,push',
  ]);
  t.same(mergeScopes(['odd']), ['odd']);
  t.same(splitScopes(' a  b '), ['a', 'b']);
  t.equal(repositoryScope('a/b', 'push'), 'repository:a/b:pull,push');
  t.end();
});
