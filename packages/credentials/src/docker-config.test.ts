import t from 'tap';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf, messageOf } from '@gantry/errors';
import { firstOf, fixedCredentials } from './credentials.ts';
import { DockerConfigCredentials, dockerConfigFile } from './docker-config.ts';
import { credentialFiles, userCredentials } from './user-credentials.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-auth-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
const file = path.join(scratch, 'config.json');
const environment = { PATH: `${scratch}:${process.env['PATH'] ?? ''}`, HOME: scratch };
const source = new DockerConfigCredentials({ file, environment });
const base64 = (text: string): string => Buffer.from(text).toString('base64');

function helper(name: string, script: string): void {
  const program = path.join(scratch, `docker-credential-${name}`);
  writeFileSync(program, `#!/bin/sh\nread server\n${script}\n`);
  chmodSync(program, 0o755);
}

async function lookup(config: unknown, host: string): Promise<unknown> {
  writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
  return source.lookup(host).then(
    (found) => found?.credentials,
    (err: unknown) => [codeOf(err), messageOf(err)],
  );
}

t.test('auths: by host, by URL, docker.io under its old name, tokens', async (t) => {
  const alice = { kind: 'password', username: 'alice', password: 'a:b' };
  const auths = {
    'https://index.docker.io/v1/': { auth: base64('alice:a:b') },
    'r.example:5000': { username: 'alice', password: 'a:b' },
    'https://old.example/v1/': { auth: `${base64('alice:a:b\0\0')}` },
    'token.example': { identitytoken: 'it' },
    'bearer.example': { registrytoken: 'rt' },
    'empty.example': {},
  };
  for (const host of ['docker.io', 'registry-1.docker.io', 'r.example:5000', 'old.example'])
    t.same(await lookup({ auths }, host), alice, host);
  t.same(await lookup({ auths }, 'token.example'), { kind: 'identity token', token: 'it' });
  t.same(await lookup({ auths }, 'bearer.example'), { kind: 'registry token', token: 'rt' });
  for (const host of ['empty.example', 'r.example', 'evil-r.example:5000', 'example'])
    t.equal(await lookup({ auths }, host), undefined, host);
  t.equal(await lookup({}, 'r.example'), undefined);
  t.match(await lookup({ auths: { a: { auth: '!!' } } }, 'a'), [
    'invalid argument',
    /auths\["a"\]: auth is not base64/,
  ]);
  t.match(await lookup('{', 'a'), ['invalid argument', /is not JSON/]);
  t.equal(await new DockerConfigCredentials({ file: '/nonexistent/x', environment }).lookup('a'), undefined);
});

t.test('helpers: named for a host, for all hosts, with nothing, failing, missing', async (t) => {
  helper('one', 'printf \'{"ServerURL":"%s","Username":"bob","Secret":"%s"}\' "$server" "$server"');
  helper('token', 'echo \'{"Username":"<token>","Secret":"it"}\'');
  helper('none', 'echo credentials not found in native keychain; exit 1');
  helper('bad', 'echo secret-output; exit 3');
  const config = {
    credsStore: 'none',
    credHelpers: { 'r.example': 'one', 'docker.io': 'one', t: 'token', bad: 'bad', gone: 'gone', path: '../x' },
    auths: { plain: { auth: base64('u:p') } },
  };
  t.same(await lookup(config, 'r.example'), { kind: 'password', username: 'bob', password: 'r.example' });
  t.same(await lookup(config, 'registry-1.docker.io'), {
    kind: 'password',
    username: 'bob',
    password: 'https://index.docker.io/v1/',
  });
  t.same(await lookup(config, 't'), { kind: 'identity token', token: 'it' });
  t.equal(await lookup(config, 'other'), undefined);
  t.same(
    await lookup(config, 'plain'),
    { kind: 'password', username: 'u', password: 'p' },
    'what the store does not have may stand in the file',
  );
  const bad = await lookup(config, 'bad');
  t.same(bad, ['failed precondition', 'docker-credential-bad get: exit status 3 for bad']);
  t.match(await lookup(config, 'gone'), ['failed precondition', /docker-credential-gone cannot be run.*install it/]);
  t.match(await lookup(config, 'path'), ['invalid argument', /not a name/]);
});

t.test('the file is found by the environment, and sources are asked in order', async (t) => {
  t.equal(dockerConfigFile({ DOCKER_CONFIG: '/d' }), '/d/config.json');
  t.equal(dockerConfigFile({ HOME: '/h' }), '/h/.docker/config.json');
  const own = fixedCredentials('a', { kind: 'registry token', token: 'x' });
  writeFileSync(file, JSON.stringify({ auths: { a: { identitytoken: 'y' }, b: { identitytoken: 'z' } } }));
  t.match(await firstOf(own, source).lookup('a'), { credentials: { token: 'x' }, source: 'the request' });
  t.match(await firstOf(own, source).lookup('b'), { credentials: { token: 'z' }, source: file });
});

t.test("docker's file, then podman's, or the one that is named", async (t) => {
  t.same(credentialFiles({ HOME: '/h' }, 0), [
    '/h/.docker/config.json',
    '/run/containers/0/auth.json',
    '/h/.config/containers/auth.json',
  ]);
  t.same(credentialFiles({ HOME: '/h', DOCKER_CONFIG: '/d', XDG_RUNTIME_DIR: '/r', XDG_CONFIG_HOME: '/c' }, 1000), [
    '/d/config.json',
    '/r/containers/auth.json',
    '/c/containers/auth.json',
  ]);
  t.same(credentialFiles({ HOME: '/h', REGISTRY_AUTH_FILE: '/a.json' }), ['/a.json']);
  mkdirSync(path.join(scratch, 'run/containers'), { recursive: true });
  const podman = path.join(scratch, 'run/containers/auth.json');
  writeFileSync(podman, JSON.stringify({ auths: { 'p.example': { auth: base64('carol:c') } } }));
  writeFileSync(file, JSON.stringify({ auths: { 'd.example': { auth: base64('dave:d') } } }));
  const all = userCredentials({ ...environment, DOCKER_CONFIG: scratch, XDG_RUNTIME_DIR: path.join(scratch, 'run') });
  t.match(await all.lookup('p.example'), { credentials: { username: 'carol' }, source: podman });
  t.match(await all.lookup('d.example'), { credentials: { username: 'dave' }, source: file });
  t.equal(await all.lookup('x.example'), undefined);
});
