# The two commands to know: `make build` and `make test`. `make` alone lists all.

PREFIX ?= /usr/local
DESTDIR ?=

# Where rustup puts cargo, for a shell that has not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
SHIM := $(TARGET_DIR)/release/containerd-shim-outlive-v2
OUTLIVE := $(TARGET_DIR)/release/outlive
CONFIG := containerd-1.x.toml containerd-2.x.toml outlive.service outlive.toml runtimeclass.yaml supervisor.toml

.DEFAULT_GOAL := help
.PHONY: help build install uninstall check test test-long test-guest footprint demo demo-containerd clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build the release binaries in target/release
	@tests/setup/rust.sh
	cargo build --release --locked

install: ## install them below PREFIX (/usr/local), in DESTDIR if set
	@test -x $(SHIM) -a -x $(OUTLIVE) || $(MAKE) build
	install -D -m 755 $(SHIM) $(DESTDIR)$(PREFIX)/bin/containerd-shim-outlive-v2
	install -D -m 755 $(OUTLIVE) $(DESTDIR)$(PREFIX)/bin/outlive
	install -d $(DESTDIR)$(PREFIX)/share/outlive
	install -m 644 $(addprefix shim-config/,$(CONFIG)) $(DESTDIR)$(PREFIX)/share/outlive

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/containerd-shim-outlive-v2 $(DESTDIR)$(PREFIX)/bin/outlive
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/outlive/,$(CONFIG))
	@if test -d $(DESTDIR)$(PREFIX)/share/outlive; then rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX)/share/outlive; fi

check: ## formatting, clippy and documentation: warnings are errors
	@tests/setup/rust.sh rustfmt clippy
	cargo fmt --check
	CLIPPY_CONF_DIR=shim-config cargo clippy --locked --all-targets --features crash-points -- -D warnings
	CLIPPY_CONF_DIR=shim-config cargo clippy --locked --lib --bins -- -D warnings # as it is released
	CLIPPY_CONF_DIR=shim-config cargo clippy --locked --test guest -- -D warnings # not among "all": test = false
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

test: build ## every test: with runc on containerd 1.6, 1.7 and 2.x, with crun, and in the guest (root; PARTS=)
	@tests/setup/test.sh $(SHIM) $(PARTS)

test-long: build ## a gibibyte through each kind of output, and containerd away for a minute (root)
	@tests/setup/packages.sh containerd runc busybox-static
	@tests/setup/containerd.sh
	@OUTLIVE_SHIM=$(SHIM) OUTLIVE_VOLUME_MIB=1024 cargo test --locked --features crash-points --test task volume:: -- --nocapture --test-threads=1
	@OUTLIVE_SHIM=$(SHIM) OUTLIVE_LONG=1 cargo test --locked --features crash-points --test containerd away::

test-guest: build ## the tests for cgroup v2, out of memory and checkpoints, in an emulated machine (ARGS=)
	@tests/guest/test.sh $(SHIM) $(ARGS)

footprint: build ## print the size and memory of a resting shim, and the supervisor's memory, restarts and calls (root)
	@tests/setup/packages.sh containerd runc busybox-static
	@OUTLIVE_SHIM=$(SHIM) cargo test --locked --features crash-points --quiet --test task footprint -- --nocapture
	@OUTLIVE_SHIM=$(SHIM) cargo test --locked --features crash-points --quiet --test figures -- --nocapture --test-threads=1

demo: build ## kill -9 the supervisor under three containers, and see what is left of them (root)
	@tests/setup/packages.sh runc busybox-static
	cargo build --locked --bin outlive
	@OUTLIVE=$(OUTLIVE) OUTLIVE_NEXT=$(TARGET_DIR)/debug/outlive tests/demo/supervisor.sh

demo-containerd: build ## kill -9 containerd under two containers, and see what is left of them (root)
	@tests/setup/packages.sh containerd runc busybox-static
	@OUTLIVE_SHIM_DIR=$(TARGET_DIR)/release tests/demo/containerd.sh

clean: ## remove target/: binaries, downloads, the guest
	cargo clean
	rm -rf target
