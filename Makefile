# The two commands to know: `make build` and `make test`. `make` alone lists all.

PREFIX ?= /usr/local
DESTDIR ?=

# Where rustup puts cargo, for a shell that has not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
SHIM_BINARY := $(TARGET_DIR)/release/containerd-shim-outlive-v2
OUTLIVE := $(TARGET_DIR)/release/outlive
CONFIG := containerd-1.x.toml containerd-2.x.toml outlive.service outlive.toml runtimeclass.yaml supervisor.toml

.DEFAULT_GOAL := help
.PHONY: help build install uninstall check test test-long test-recovery torture test-guest bench footprint demo demo-containerd clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The shim has the C library in itself, where there is one to link: it starts in half the time and dirties fewer pages.
STATIC = $(if $(wildcard $(shell cc -print-file-name=libc.a)),-- -C target-feature=+crt-static -C relocation-model=static)

build: ## build the release binaries in target/release
	@tests/setup/rust.sh
	cargo build --release --locked --bin outlive
	cargo rustc --release --locked --bin containerd-shim-outlive-v2 $(STATIC)

install: ## install them below PREFIX (/usr/local), in DESTDIR if set
	@test -x $(SHIM_BINARY) -a -x $(OUTLIVE) || $(MAKE) build
	install -D -m 755 $(SHIM_BINARY) $(DESTDIR)$(PREFIX)/bin/containerd-shim-outlive-v2
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
	CLIPPY_CONF_DIR=shim-config cargo clippy --locked --test harness --test bench --features crash-points -- -D warnings # likewise
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

test: build ## every test: with runc on containerd 1.6, 1.7 and 2.x, with crun, and in the guest (root; PARTS=)
	@tests/setup/test.sh $(SHIM_BINARY) $(PARTS)

test-long: build ## a gibibyte through each kind of output, and containerd away for a minute (root)
	@tests/setup/packages.sh containerd runc busybox-static
	@tests/setup/containerd.sh
	@OUTLIVE_SHIM=$(SHIM_BINARY) OUTLIVE_VOLUME_MIB=1024 cargo test --locked --features crash-points --test task volume:: -- --nocapture --test-threads=1
	@OUTLIVE_SHIM=$(SHIM_BINARY) OUTLIVE_LONG=1 cargo test --locked --features crash-points --test containerd away::

# What test-recovery kills, and what torture does; the command is what the report shows.
COMMA := ,
ALL_TARGETS := supervisor$(COMMA)containerd-2.x+outlive$(if $(SHORT),,$(COMMA)containerd-2.x+go)
TORTURED = $(or $(TARGET),supervisor)$(if $(SHIM),+$(SHIM))
HARNESS = OUTLIVE_SHIM=$(SHIM_BINARY) RUST_BACKTRACE=0 cargo test --locked --quiet --features crash-points --test harness --

test-recovery: build recovery-setup ## kill -9 of all that manages, everywhere; 10 minutes (root; SHORT=1 for 3, ONLY=, TARGET=)
	@OUTLIVE_COMMAND="make test-recovery $(strip $(foreach name,SHORT ONLY TARGET,$(if $($(name)),$(name)='$($(name))')))" \
		$(HARNESS) recovery --target '$(or $(TARGET),$(ALL_TARGETS))' $(if $(SHORT),--quick) $(if $(ONLY),--only '$(ONLY)')

torture: build recovery-setup ## random calls and kills (root; SECONDS=60, KILLS=, SEED=1, TARGET=supervisor or containerd, SHIM=)
	@OUTLIVE_COMMAND="make torture $(strip $(foreach name,SECONDS KILLS SEED TARGET SHIM,$(if $($(name)),$(name)='$($(name))')))" \
		OUTLIVE_BIN=$(or $(OUTLIVE_BIN),$(OUTLIVE)) $(HARNESS) torture --target '$(TORTURED)' \
		--seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(if $(KILLS),--kills $(KILLS))

.PHONY: recovery-setup
recovery-setup:
	@tests/setup/packages.sh containerd runc busybox-static e2fsprogs xfsprogs libfaketime util-linux
	@tests/setup/containerd.sh
	@cargo build --locked --features crash-points --bins

test-guest: build ## the tests for cgroup v2, out of memory and checkpoints, in an emulated machine (ARGS=)
	@tests/guest/test.sh $(SHIM_BINARY) $(ARGS)

BENCH = OUTLIVE_SHIM=$(SHIM_BINARY) RUST_BACKTRACE=0 RUST_SHIM=$(TARGET_DIR)/peers/bin/containerd-shim-runc-v2-rs \
	tests/setup/crun.sh cargo test --locked --quiet --features crash-points --test bench --

bench: build ## speed and memory beside the peers; 11 minutes (root; QUICK=1 for a fifth of the rounds, ONLY=life,memory,..)
	@tests/setup/packages.sh containerd runc crun busybox-static conmon valgrind
	@tests/setup/rust-peer.sh $(TARGET_DIR)/peers
	@OUTLIVE_COMMAND="make bench $(strip $(foreach name,QUICK ONLY,$(if $($(name)),$(name)='$($(name))')))" \
		$(BENCH) $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)')

footprint: build ## print the size and memory of a resting shim, and the supervisor's memory, restarts and calls (root)
	@tests/setup/packages.sh containerd runc busybox-static
	@OUTLIVE_SHIM=$(SHIM_BINARY) cargo test --locked --features crash-points --quiet --test task footprint -- --nocapture
	@OUTLIVE_SHIM=$(SHIM_BINARY) cargo test --locked --features crash-points --quiet --test figures -- --nocapture --test-threads=1

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
