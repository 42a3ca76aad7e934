#!/usr/bin/env bash
# Runs test files in a small virtual machine with pure cgroup v2. usage: run-vm.sh [--timeout S] [TEST_FILE …]
exec node "$(dirname "$0")/run-vm.mjs" "$@"
