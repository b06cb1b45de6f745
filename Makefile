# Every everyday task is one command here; `make` lists the commands. On Debian 12 with Rust each
# target installs the packages that it needs (tests/deps.sh).

CARGO ?= cargo
PREFIX ?= /usr/local
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TOOLS := $(TARGET_DIR)/tools
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
MDBOOK_VERSION := 0.5.4
MDBOOK_MERMAID_VERSION := 0.17.1
SMP_TESTS := --test kernel_smoke --test kernel_smp --test kernel_torture_smp

# The engine alone, as built by a program that needs disks and no driver
ENGINE := --no-default-features --features fake-host

# Seconds for each fuzzer, and which fuzzers to run
FUZZ_SECONDS ?= 20
FUZZ_TARGETS ?= $(notdir $(wildcard tests/fuzz/corpus/*))

# Only the tests whose name contains this, for example: make test-kernel FILTER=overflow
FILTER ?=

.DEFAULT_GOAL := help
.PHONY: help demo build release image test test-unit test-kernel test-smp torture e2e bench bench-many cost micro fuzz lint fmt \
	install clean package docs chart-docs deps deps-build deps-smp deps-demo deps-chart deps-registry deps-e2e rust-components \
	cargo-deny cargo-fuzz mdbook advisories

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps-demo ## Demonstrate calf: five copy-on-write disks, one booted as a microVM
	$(CARGO) build --bin calf
	$(CARGO) build --example demo
	@$(TARGET_DIR)/debug/examples/demo

build: deps-build ## Build calf for development
	$(CARGO) build

release: deps-build ## Build the optimized calf
	$(CARGO) build --release --bin calf

image: release ## Build the container image, as target/image/calf.tar
	@tests/deps.sh image
	charts/image/build.sh $(TARGET_DIR)/release/calf $(TARGET_DIR)/image

test: test-unit test-kernel ## Run every test: without a kernel, then in User-Mode Linux

test-unit: deps-build deps-chart deps-registry ## Run the tests that need no kernel of their own
	tests/deps.sh test
	$(CARGO) test --workspace --no-fail-fast -- $(FILTER)
	$(CARGO) test --no-fail-fast $(ENGINE) -- $(FILTER)

test-kernel: deps ## Run the kernel tests and csi-sanity in User-Mode Linux (FILTER=name)
	CALF_KERNEL=uml $(CARGO) test --no-fail-fast --test 'kernel_*' -- $(FILTER)

test-smp: deps-smp ## Run the concurrency tests in QEMU with two CPUs (FILTER=name)
	CALF_KERNEL=qemu $(CARGO) test --no-fail-fast $(SMP_TESTS) -- $(FILTER)

torture: deps deps-smp ## Break calf in every way and count (CALF_TORTURE=full|short|PERCENT)
	CARGO="$(CARGO)" tests/torture.sh $(FILTER)

e2e: deps-e2e image ## Run calf in a Kubernetes of its own, end to end, as root (FILTER=name)
	CALF_E2E=1 $(CARGO) test --test e2e -- $(FILTER)

# Without a sanitizer, fuzzing needs no nightly Rust. New inputs go to the build directory, not to
# the corpus.
fuzz: deps-build cargo-fuzz ## Fuzz each parser for FUZZ_SECONDS (FUZZ_TARGETS=name)
	@export PATH="$(abspath $(TOOLS))/bin:$$PATH" && for target in $(FUZZ_TARGETS); do \
		found=$(abspath $(TARGET_DIR))/fuzz-corpus/$$target && mkdir -p $$found && \
		$(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none --target-dir $(TARGET_DIR)/fuzz \
			$$target $$found tests/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=1024 || exit 1; \
	done

bench: deps-build ## Compare calf with the alternatives (KERNEL=uml|qemu|host, SCALE=full|short)
	tests/deps.sh bench $(if $(filter qemu,$(KERNEL)),smp)
	$(if $(filter qemu,$(KERNEL)),tests/qemu-kernel.sh $(TOOLS)/qemu-kernel)
	CALF_KERNEL=$(or $(KERNEL),uml) CALF_KERNEL_MEMORY=6G CALF_BENCH=$(or $(SCALE),full) \
		CALF_BENCH_OUT=docs/benchmarks $(CARGO) test --release --test kernel_bench -- $(FILTER)

bench-many: deps-build ## Ten thousand volumes in one kernel, which has 14 GiB (report: target/bench-many)
	tests/deps.sh bench
	CALF_KERNEL=$(or $(KERNEL),uml) CALF_KERNEL_MEMORY=14G CALF_BENCH=many \
		CALF_BENCH_OUT=$(TARGET_DIR)/bench-many $(CARGO) test --release --test kernel_bench -- density

cost: deps-build ## Measure what calf's own calls cost, without a kernel's share
	CALF_COST_OUT=docs/benchmarks $(CARGO) bench --bench cost

micro: deps-build ## Run the micro-benchmarks of pure code
	$(CARGO) bench --bench micro

lint: deps-build deps-chart rust-components cargo-deny ## Check format, lints, licences, advisories, the chart
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	$(CARGO) clippy $(ENGINE) --all-targets -- -D warnings
	$(CARGO) clippy $(ENGINE),http -- -D warnings
	$(CARGO) clippy $(ENGINE),formats -- -D warnings
	$(CARGO) metadata --quiet --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	$(TOOLS)/helm lint --strict --quiet charts/calf
	@PATH="$(abspath $(TOOLS))/bin:$$PATH" $(MAKE) --no-print-directory advisories

docs: mdbook ## Build the documentation as a site, as target/docs/site/index.html
	@PATH="$(abspath $(TOOLS))/bin:$$PATH" docs/build.sh $(TARGET_DIR)/docs

chart-docs: deps-chart ## Write the table of values into the chart's README
	CALF_WRITE_CHART_README=1 $(CARGO) test --test chart readme

fmt: rust-components ## Format the code
	$(CARGO) fmt --all

install: release ## Install calf and its manual into PREFIX (default /usr/local)
	install -D -m 0755 $(TARGET_DIR)/release/calf $(DESTDIR)$(PREFIX)/bin/calf
	$(TARGET_DIR)/release/calf man --quiet --install $(DESTDIR)$(PREFIX)/share/man/man1

package: deps-build ## Make the package for crates.io, and build calf from it
	$(CARGO) publish --dry-run --locked

clean: ## Remove everything that was built
	$(CARGO) clean

deps: deps-build deps-chart deps-registry # Everything that `make test` needs
	tests/deps.sh test bench
	tests/qemu-kernel.sh $(TOOLS)/qemu-kernel
	tests/go-tool.sh $(TOOLS) csi-sanity

deps-build:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
	@tests/deps.sh build

deps-chart:
	@tests/go-tool.sh $(TOOLS) helm

deps-registry:
	@tests/go-tool.sh $(TOOLS) registry

deps-e2e: deps-build deps-chart
	tests/deps.sh e2e
	tests/qemu-kernel.sh $(TOOLS)/qemu-kernel
	tests/e2e/install.sh $(TOOLS)/e2e

deps-smp: deps-build
	tests/deps.sh smp
	tests/qemu-kernel.sh $(TOOLS)/qemu-kernel

deps-demo: deps-build
	@tests/deps.sh demo
	@tests/qemu-kernel.sh $(TOOLS)/qemu-kernel

rust-components:
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

cargo-deny:
	@command -v cargo-deny >/dev/null || [ -x $(TOOLS)/bin/cargo-deny ] || \
		$(CARGO) install cargo-deny --locked --version $(CARGO_DENY_VERSION) --root $(TOOLS)

cargo-fuzz:
	@command -v cargo-fuzz >/dev/null || [ -x $(TOOLS)/bin/cargo-fuzz ] || \
		$(CARGO) install cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION) --root $(TOOLS)

mdbook:
	@command -v mdbook >/dev/null || [ -x $(TOOLS)/bin/mdbook ] || \
		$(CARGO) install mdbook --locked --version $(MDBOOK_VERSION) --root $(TOOLS)
	@command -v mdbook-mermaid >/dev/null || [ -x $(TOOLS)/bin/mdbook-mermaid ] || \
		$(CARGO) install mdbook-mermaid --locked --version $(MDBOOK_MERMAID_VERSION) --root $(TOOLS)

# The advisory database is a remote git repository. If it cannot be fetched, that check is skipped
# and the output says so; the other checks need no network.
advisories:
	$(CARGO) deny --log-level error check bans licenses sources
	@if $(CARGO) deny --log-level error fetch db >/dev/null 2>&1; then \
		$(CARGO) deny --log-level error check --disable-fetch advisories; \
	else \
		echo "NOT CHECKED: security advisories (their database cannot be fetched here)"; \
	fi
