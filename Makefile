# What a person types. Each target is one line of work; the work itself is in scripts/.
# `make` alone prints this table.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Where scripts/setup.sh puts uv, and where rustup puts cargo: last, so that what is already there wins.
export PATH := $(PATH):$(CURDIR)/.venv/bin:$(HOME)/.cargo/bin

.PHONY: help demo test soak fuzz lint fmt bench build clean ci

help: ## this table
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a mesh with two real services, a crash and its recovery; ONCE=1 ends by itself
	@scripts/setup.sh demo
	@ONCE="$(ONCE)" scripts/demo.sh

test: ## the whole suite; long stories at a twentieth of their length
	@scripts/setup.sh test
	@scripts/test.sh

soak: ## the whole suite with the long stories in full
	@scripts/setup.sh test
	@SOAK=1 scripts/test.sh

fuzz: ## bad input for whatever reads strangers' bytes; SECONDS=60 for each target
	@scripts/setup.sh lint
	@scripts/fuzz.sh "$(or $(SECONDS),60)"

lint: ## format, words, clippy, and cargo-deny where it is installed
	@scripts/setup.sh lint
	@scripts/lint.sh

fmt: ## format everything
	@cargo fmt --all

bench: ## calls, starts, kills, messages, services, watches: measured, and docs/performance.md renewed
	@scripts/setup.sh bench
	@scripts/bench.sh

build: ## every program, development profile
	@scripts/setup.sh lint
	@cargo build --workspace --bins

clean: ## what was built; installed tools stay
	@cargo clean

ci: ## what runs on every change
	@.ci/run
