#!/usr/bin/env bash
# Installs the built checkout below a prefix: the workspaces to PREFIX/lib/gantry, the commands to PREFIX/bin.
# usage: scripts/install.sh PREFIX   (called by `make install`)
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${1:?usage: scripts/install.sh PREFIX}
lib=$prefix/lib/gantry

rm -rf "$lib"
mkdir -p "$lib" "$prefix/bin"
cp package.json package-lock.json .npmrc LICENSE "$lib/"
# Every workspace is copied (the lock file names them all); the compiled files of tests and bench are not.
for room in packages/* runtime shim test bench; do
  mkdir -p "$lib/$room"
  cp "$room/package.json" "$lib/$room/"
  case $room in test | bench) continue ;; esac
  for part in dist bin; do
    [ -d "$room/$part" ] && cp -a "$room/$part" "$lib/$room/"
  done
done
find "$lib" \( -name '*.test.*' -o -name '.tsbuildinfo' \) -delete
(cd "$lib" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error)
for command in packages/supervisor/bin/gantryd.js packages/cli/bin/gantry.js shim/bin/containerd-shim-gantry-v1.js runtime/bin/gantry-runtime.cjs; do
  name=$(basename "$command")
  ln -sf "../lib/gantry/$command" "$prefix/bin/${name%.*}"
done
echo "installed gantryd, gantry, gantry-runtime and containerd-shim-gantry-v1 in $prefix/bin"
