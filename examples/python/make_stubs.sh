#!/bin/sh
# Makes the Python modules that run.py imports, below DIRECTORY, of the wire contracts in ../../proto.
# usage: make_stubs.sh DIRECTORY   (Debian: protobuf-compiler, protobuf-compiler-grpc, libprotobuf-dev)
set -eu
out=${1:?usage: make_stubs.sh DIRECTORY}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../../proto"
find containerd/services containerd/types containerd/v1 containerd/events -name '*.proto' | sort |
  xargs protoc -I . --python_out="$out" --grpc_python_out="$out" \
    --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)"
