/** The functions of libseccomp.so.2 that are used (libseccomp's manual pages, version 2.5). */
import { declare, NativeLibraryError } from '../native.ts';

/** A missing libseccomp. A filter that cannot be built is never left out: the caller fails with this. */
export class SeccompUnavailableError extends Error {
  override readonly name = 'SeccompUnavailableError';
}

const functions = declare(
  'seccomp',
  {
    // scmp_filter_ctx seccomp_init(uint32_t default_action): ours, until seccomp_release
    init: 'uint64_t seccomp_init(uint32_t default_action)',
    release: 'void seccomp_release(uint64_t context)',
    archNative: 'uint32_t seccomp_arch_native(void)',
    // uint32_t seccomp_arch_resolve_name(const char *name): 0 when it is not known
    archResolve: 'uint32_t seccomp_arch_resolve_name(const char *name)',
    // int seccomp_arch_add(ctx, uint32_t token): -EEXIST when it is there already
    archAdd: 'int seccomp_arch_add(uint64_t context, uint32_t token)',
    // int seccomp_syscall_resolve_name(const char *name): -1 unknown, below -1 known elsewhere only
    resolve: 'int seccomp_syscall_resolve_name(const char *name)',
    resolveArch: 'int seccomp_syscall_resolve_name_arch(uint32_t token, const char *name)',
    // int seccomp_rule_add_array(ctx, uint32_t action, int syscall, unsigned n, const struct scmp_arg_cmp *args)
    // args is ours, 24 bytes each: unsigned arg, enum scmp_compare op, uint64_t datum_a, uint64_t datum_b
    ruleAdd: 'int seccomp_rule_add_array(uint64_t context, uint32_t action, int syscall, uint n, void *args)',
    // int seccomp_export_bpf(ctx, int fd): writes struct sock_filter[] to fd
    exportBpf: 'int seccomp_export_bpf(uint64_t context, int fd)',
  },
  { optional: true },
);

/** The library's functions; throws SeccompUnavailableError when it is not installed. */
export function libseccomp(): typeof functions {
  try {
    void functions.init;
    return functions;
  } catch (err) {
    if (!(err instanceof NativeLibraryError)) throw err;
    throw new SeccompUnavailableError(
      'a seccomp profile needs libseccomp.so.2, which cannot be loaded (Debian and Ubuntu: package libseccomp2)',
      { cause: err },
    );
  }
}
