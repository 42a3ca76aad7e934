import t from 'tap';
import { SECCOMP_FILTER_FLAG_LOG } from '../constants.ts';
import { buildSeccompFilter, seccompFlags } from './filter.ts';
import { libseccomp, SeccompUnavailableError } from './libseccomp.ts';
import type { SeccompProfile } from './profile.ts';

function installed(): boolean {
  try {
    libseccomp();
    return true;
  } catch (err) {
    if (err instanceof SeccompUnavailableError) return false;
    throw err;
  }
}
const withLibrary = installed() ? {} : { skip: 'needs libseccomp2' };

const allow = (...names: string[]): SeccompProfile => ({
  defaultAction: 'SCMP_ACT_ERRNO',
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  syscalls: [{ names, action: 'SCMP_ACT_ALLOW' }],
});

t.test('a program is whole instructions and ends in a return', withLibrary, async (t) => {
  const program = buildSeccompFilter(allow('read', 'write', 'no_such_call'));
  t.equal(program.length % 8, 0);
  t.equal(program.readUInt16LE(program.length - 8), 0x06);
});

t.test('unknown names and rules that repeat the default change nothing', withLibrary, async (t) => {
  const plain = buildSeccompFilter(allow('read'));
  t.same(buildSeccompFilter(allow('read', 'from_the_future')), plain);
  const repeated = { names: ['read'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 };
  t.same(
    buildSeccompFilter({ ...allow('read'), syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }, repeated] }),
    plain,
  );
});

t.test('a profile is built once', withLibrary, async (t) => {
  const program = buildSeccompFilter(allow('read', 'close'));
  for (const name of ['dup', 'dup2', 'dup3']) buildSeccompFilter(allow(name));
  t.equal(buildSeccompFilter(allow('read', 'close')), program);
  t.ok(buildSeccompFilter(allow('read', 'open')) !== program);
});

t.test('a profile that cannot be made is refused by the part that is wrong', withLibrary, async (t) => {
  const refused = (profile: Partial<SeccompProfile>, message: RegExp): void =>
    void t.throws(() => buildSeccompFilter({ ...allow('read'), ...profile }), message);
  const rule = { names: ['read'], action: 'SCMP_ACT_ALLOW' };
  refused({ defaultAction: 'SCMP_ACT_NOTIFY' }, /SCMP_ACT_NOTIFY cannot be used as default action/);
  refused({ defaultAction: 'ALLOW' }, /action "ALLOW" is not known/);
  refused({ defaultErrnoRet: -1 }, /errnoRet -1 is not in the range/);
  refused({ architectures: ['SCMP_ARCH_PDP11'] }, /architecture SCMP_ARCH_PDP11 is not known/);
  refused({ architectures: ['x86'] }, /architecture "x86" is not known/);
  refused(
    { syscalls: [{ names: ['write'], action: 'SCMP_ACT_NOTIFY' }] },
    /SCMP_ACT_NOTIFY cannot be used for the write syscall/,
  );
  refused({ syscalls: [{ ...rule, args: [{ index: 6, value: 0, op: 'SCMP_CMP_EQ' }] }] }, /argument index 6/);
  refused({ syscalls: [{ ...rule, args: [{ index: 1, value: 0, op: 'EQ' }] }] }, /operator "EQ"/);
  refused({ syscalls: [{ ...rule, names: ['re\0ad'] }] }, /syscall name "re\\u0000ad" is not valid/);
});

t.test('flags are numbers, TSYNC is left out and strange ones are refused', async (t) => {
  t.equal(seccompFlags([]), 0);
  t.equal(seccompFlags(['SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_TSYNC']), SECCOMP_FILTER_FLAG_LOG);
  t.ok([0, 4].includes(seccompFlags(undefined)));
  t.throws(
    () => seccompFlags(['SECCOMP_FILTER_FLAG_NEW_LISTENER']),
    /flag "SECCOMP_FILTER_FLAG_NEW_LISTENER" is not known/,
  );
});
