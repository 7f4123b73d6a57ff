# `make test` and `make demo` are each enough on a fresh Debian 12 with rustup.

.PHONY: test soak demo demo-xdp audit bench bench-io bench-pool figures constant-time fuzz needs
.NOTPARALLEL:

# rustup's place, for a shell that was opened before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Behind sudo: whoever called it has rustup, and owns what is built.
ifneq ($(filter-out root,$(SUDO_USER)),)
OWNER_HOME := $(shell getent passwd $(SUDO_USER) | cut -d: -f6)
export PATH := $(PATH):$(OWNER_HOME)/.cargo/bin
AS_OWNER := runuser -u $(SUDO_USER) -- env HOME=$(OWNER_HOME)
endif

# What the build needs of the system: a C compiler, for aws-lc, libbpf and linking, what libbpf
# asks for, and a compiler that knows BPF, for the XDP program.
PACKAGES := gcc libc6-dev make pkg-config libelf-dev zlib1g-dev clang

# Seconds for each target of `make fuzz`.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

# Tests, demo and people use the release profile, so that everything is compiled once.
# Some tests have hosts of their own, made with `ip` and looked at with `ethtool`.
# One runs the cryptography under valgrind.
test: PACKAGES += iproute2 ethtool valgrind libc6-dbg
test: needs
	cargo test --release --locked

# What takes too long for every change: the longest message over lossy links, and, as root, a
# million packets by every kind of port.
soak: PACKAGES += iproute2 ethtool
soak: needs
	cargo test --release --locked --test messages --test netns -- --ignored --nocapture

demo: needs
	@cargo run --release --locked --quiet -- demo

# The same past the kernel's network stack, as root: sudo make demo-xdp
demo-xdp: PACKAGES += iproute2
demo-xdp: needs
	@$(AS_OWNER) cargo build --release --locked --quiet
	@target/release/mixline demo --xdp

# What an observer of a node's wires can tell, about a quarter of an hour; as root over a wire of
# its own, otherwise over loopback (docs/audit.md). Other options, as in `make audit AUDIT=--quick`.
AUDIT ?=
audit: PACKAGES += iproute2
audit: needs
	@$(AS_OWNER) cargo build --release --locked --quiet
	@target/release/mixline audit --self $(AUDIT)

# Ours beside other implementations, in one process: docs/performance.md says how. What is
# measured, and for how long, as in `make bench BENCH="hop_1024 --seconds 5"`.
BENCH ?=
bench: needs
	@cargo bench --locked --quiet --bench peers -- $(BENCH)

# What it costs to forward a datagram by each kind of port; as root: docs/packet-io.md says how.
bench-io: PACKAGES += iproute2 ethtool
bench-io: needs
	@cargo bench --locked --quiet --bench io -- $(BENCH)

# What it costs to mix a packet and to hand it over, and how late it leaves: docs/mixing.md.
bench-pool: needs
	@cargo bench --locked --quiet --bench pool -- $(BENCH)

# Whether the time of a kernel tells its secrets: ten million samples of each, about half an hour.
# What is measured, as in `make constant-time KERNELS="x25519 --samples 1000000"`.
KERNELS ?=
constant-time: needs
	@cargo bench --locked --quiet --bench dudect -- $(KERNELS)

# Puts the tables of this machine into the page.
figures: needs
	cargo bench --locked --bench peers > target/figures
	sed -i -e '/<!-- figures -->/,/<!-- end -->/{//!d}' -e '/<!-- figures -->/r target/figures' \
		docs/performance.md
	sed -i -e '/^RESULT /d' docs/performance.md

# The fuzzer's findings go to fuzz/artifacts, what it learns to fuzz/target; the committed
# corpora are only read. An ordinary test (tests/fuzz_corpora.rs) runs them too.
fuzz: PACKAGES += g++
fuzz: needs
	@cd fuzz && cargo build --release --locked && for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) seconds"; \
		mkdir -p artifacts/$$target target/corpus/$$target corpus/$$target; \
		cargo run --release --locked --quiet --bin $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -timeout=10 \
			-artifact_prefix=artifacts/$$target/ target/corpus/$$target corpus/$$target || exit 1; \
	done

# Installs the system packages that are missing; does nothing when all are there.
needs:
	@missing=; \
	for package in $(if $(shell command -v dpkg-query),$(PACKAGES)); do \
		state=$$(dpkg-query --show --showformat '$${db:Status-Status}' $$package 2>/dev/null); \
		[ "$$state" = installed ] || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
		echo "installing the missing system packages:$$missing"; \
		$$as_root apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -q -y --no-install-recommends \
			$$missing; \
	fi
	@command -v cargo >/dev/null || { \
		echo "cargo is missing: install Rust from https://rustup.rs, then try again" >&2; \
		exit 1; \
	}
