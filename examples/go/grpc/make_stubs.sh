#!/usr/bin/env bash
# Makes the Go packages that main.go imports, in ./stubs, of the wire contracts in ../../../proto.
# usage: make_stubs.sh   (protoc and the well-known types; Debian: protobuf-compiler, libprotobuf-dev)
set -eu
cd "$(dirname "$0")"
rm -rf stubs && mkdir -p stubs .bin
go build -o .bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
cd ../../../proto
set --
# The contracts name no Go packages: each folder becomes one below stubs/.
for file in containerd/types/*.proto containerd/v1/types/*.proto \
  containerd/services/{containers,content,events,images,leases,snapshots,tasks,version}/v1/*.proto; do
  folder=$(dirname "$file")
  name=$(basename "${folder%/v1}")
  place="M$file=gantry.example/grpc/stubs/$folder;$name"
  set -- "$@" "--go_opt=$place" "--go-grpc_opt=$place" "$file"
done
here=$OLDPWD
protoc -I . --plugin="$here/.bin/protoc-gen-go" --plugin="$here/.bin/protoc-gen-go-grpc" \
  --go_out="$here/stubs" --go_opt=module=gantry.example/grpc/stubs \
  --go-grpc_out="$here/stubs" --go-grpc_opt=module=gantry.example/grpc/stubs "$@"
