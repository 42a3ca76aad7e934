# The targets a newcomer needs are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODE := node
BIN := node_modules/.bin
PREFIX ?= /usr/local

.PHONY: help setup build run test test-unit check lint format wire bench test-vm install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## installs what is missing (Debian packages as root, npm packages)
	@scripts/setup.sh

build: setup ## compiles everything
	@$(NODE) packages/api/build/generate.mjs
	@$(BIN)/tsc -b

lint: ## oxlint and the formatter's check
	@$(BIN)/oxlint --deny-warnings && $(BIN)/oxfmt --check

format: ## formats the sources
	@$(BIN)/oxfmt

clean: ## removes what the build made
	@rm -rf packages/*/dist runtime/dist shim/dist test/dist packages/api/src/gen
