#!/usr/bin/env bash
# Installs what is missing: npm packages from the lock file, and Debian packages when it may (root with apt-get).
# usage: scripts/setup.sh [run|test]   `run` (the default) needs least; `test` adds the peers that the tests compare with
# Safe to call again: it does nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v node >/dev/null || die 'node is missing: install Node.js 20.19 or newer (for example Debian package nodejs, with npm)'
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  die "node $(node --version) is too old: install Node.js 20.19 or newer"
command -v npm >/dev/null || die 'npm is missing: install it beside Node.js (Debian package npm)'

# command (or file) that proves a package is there → the Debian package
run_needs=(busybox:busybox-static ip:iproute2)
test_needs=(ctr:containerd containerd-shim-runc-v2:containerd runc:runc crun:crun strace:strace umoci:umoci script:bsdutils qemu-system-x86_64:qemu-system-x86 systemctl:systemd cpio:cpio xz:xz-utils docker-registry:docker-registry skopeo:skopeo openssl:openssl podman:podman conmon:conmon buildah:buildah dockerd:docker.io mkfs.erofs:erofs-utils zstd:zstd iptables:iptables criu:criu protoc:protobuf-compiler grpc_python_plugin:protobuf-compiler-grpc)
# file that proves a package is there → the Debian package
test_files=(/usr/include/google/protobuf/any.proto:libprotobuf-dev /usr/lib/python3/dist-packages/grpc/__init__.py:python3-grpcio /usr/lib/python3/dist-packages/google/protobuf/__init__.py:python3-protobuf)

missing=()
need() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing+=("${pair##*:}")
  done
}
need "${run_needs[@]}"
ldconfig -p 2>/dev/null | grep -q 'libseccomp\.so\.2' || missing+=(libseccomp2)
if [ "$purpose" = test ]; then
  need "${test_needs[@]}"
  for pair in "${test_files[@]}"; do
    [ -e "${pair%%:*}" ] || missing+=("${pair##*:}")
  done
fi

if [ "${#missing[@]}" -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian packages: ${missing[*]}"
    apt-get update -qq >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
      say "could not install all of: ${missing[*]} (what needs them says so)"
  elif [ "$purpose" = run ]; then
    die "please install these Debian packages (as root): apt-get install ${missing[*]}"
  else
    say "tests that need these Debian packages will be skipped by name; to run them: apt-get install ${missing[*]}"
  fi
fi

# npm packages: only when the lock file changed since the last time
stamp=node_modules/.gantry-lock
want=$(sha256sum package-lock.json | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$want" ]; then
  say 'installing npm packages from the lock file (no install scripts are run)'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  echo "$want" >"$stamp"
fi
