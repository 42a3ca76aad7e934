# The targets a newcomer needs are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PREFIX ?= /usr/local
BIN := node_modules/.bin

.PHONY: help setup build run test test-unit test-vm bench load fuzz check lint format pack install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@scripts/setup.sh run

build: setup ## compiles everything (TypeScript only, nothing native)
	@node packages/api/build/generate.mjs
	@$(BIN)/tsc -b
	@node packages/supervisor/build/revision.mjs
	@node packages/supervisor/build/bundle.mjs
	@node runtime/build/bundle.mjs --if-needed
	@node shim/build/bundle.mjs --if-needed
	@node packages/diff/build/bundle.mjs --if-needed

run: build ## shows a container's whole life on a gantryd of its own
	@node test/dist/demo.js

test: ## every test; ends with "N passed, N failed"
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	@node scripts/test.mjs

test-unit: build ## the tests beside the sources
	@node scripts/test.mjs --unit

test-vm: ## the part of the suite that needs pure cgroup v2, in a small virtual machine
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	@test/vm/run-vm.sh
	@test/vm/run-vm.sh --systemd test/dist/vm/systemd.test.js
	@test/vm/run-vm.sh --timeout 1800 --env GANTRY_CONFORMANCE_CASES=10 'test/dist/conformance/differential.test.js#generated'

# ARGS="--quick", ARGS="--only lifecycle,exec --samples 100"; without ARGS the figures and the plot in docs/ are renewed.
bench: ## gantryd beside a stock containerd, measured by turns (ARGS="--help" lists the options)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	@node bench/dist/main.js $(or $(ARGS),--docs)

# LENGTH=N; prints what was done, and what gantryd used for it.
load: build ## fifty clients on gantryd for five minutes (LENGTH=300, seconds)
	@scripts/setup.sh test
	@GANTRY_LOAD_SECONDS=$(or $(LENGTH),300) node test/dist/integration/many-clients.test.js

# CASES=N, FIRST=N; a case that fails is told by its number.
fuzz: build ## configurations with mistakes through the runtime (CASES=2000)
	@GANTRY_FUZZ_CASES=$(or $(CASES),2000) GANTRY_FUZZ_FIRST=$(or $(FIRST),1) node test/dist/fuzz/config.test.js

check: build lint ## types, lint, format, import walls
	@node scripts/test.mjs style

lint:
	@$(BIN)/oxlint --deny-warnings
	@$(BIN)/oxfmt --check

format: ## formats the sources
	@$(BIN)/oxfmt

pack: build ## the npm packages, as they are published, into DIR (npm-packages)
	@node scripts/pack.mjs $(or $(DIR),npm-packages)

install: build ## installs gantryd, gantry and the shim below PREFIX (/usr/local)
	@scripts/install.sh "$(DESTDIR)$(PREFIX)"

clean: ## removes what the build made
	@rm -rf packages/*/dist runtime/dist shim/dist test/dist bench/dist packages/api/src/gen
