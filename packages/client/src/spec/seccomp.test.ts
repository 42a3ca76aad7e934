import t from 'tap';
import { defaultSeccomp } from './seccomp.ts';

const host = { arch: 'x64', kernelRelease: '6.1.0-13-amd64' };
const allowed = (capabilities: readonly string[], on = host): readonly string[] =>
  defaultSeccomp(capabilities, on).syscalls?.find(({ action }) => action === 'SCMP_ACT_ALLOW')?.names ?? [];

t.test('ordinary calls are allowed, those that reach the host are not', (t) => {
  const names = allowed([]);
  for (const name of ['read', 'execve', 'arch_prctl', 'ptrace']) t.ok(names.includes(name), name);
  for (const name of ['mount', 'reboot', 'init_module', 'keyctl', 'bpf', 'open_by_handle_at']) {
    t.notOk(names.includes(name), name);
  }
  t.end();
});

t.test('a capability opens the calls it is for', (t) => {
  t.ok(allowed(['CAP_SYS_ADMIN']).includes('mount'));
  t.ok(allowed(['CAP_SYS_BOOT']).includes('reboot'));
  t.end();
});

t.test('without CAP_SYS_ADMIN clone makes no namespaces and clone3 does not exist', (t) => {
  const find = (name: string, capabilities: readonly string[]) =>
    defaultSeccomp(capabilities, host).syscalls?.find(({ names }) => names.length === 1 && names[0] === name);
  t.match(find('clone', [])?.args, [{ op: 'SCMP_CMP_MASKED_EQ', value: 0x7e020000, valueTwo: 0 }]);
  t.match(find('clone3', []), { action: 'SCMP_ACT_ERRNO', errnoRet: 38 });
  t.equal(find('clone3', ['CAP_SYS_ADMIN']), undefined);
  t.end();
});

t.test('AF_ALG and AF_VSOCK sockets match no rule', (t) => {
  const rules = (defaultSeccomp([], host).syscalls ?? []).filter(({ names }) => names.includes('socket'));
  const matches = (family: number): boolean =>
    rules.some(({ args }) =>
      (args ?? []).every(({ op, value }) =>
        op === 'SCMP_CMP_LT' ? family < value : op === 'SCMP_CMP_EQ' ? family === value : family > value,
      ),
    );
  t.same([1, 2, 38, 39, 40, 41].map(matches), [true, true, false, true, false, true]);
  t.end();
});

t.test('old kernels and other machines get their own lists', (t) => {
  t.notOk(allowed([], { arch: 'x64', kernelRelease: '4.4.0' }).includes('ptrace'));
  t.ok(allowed([], { arch: 'arm64', kernelRelease: '6.1' }).includes('set_tls'));
  t.same(defaultSeccomp([], { arch: 'mystery', kernelRelease: '6.1' }).architectures, []);
  t.end();
});
