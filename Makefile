# failover-tools. `make help` lists the targets.

CLUSTER ?= /home/kingbase/cluster/R3HA
DB_USER ?= kingbase
DESTDIR ?=
CARGO   ?= cargo

# What `--version` says of a build: the commit, by git, or by who builds without git (FAILOVER_COMMIT=...).
ifneq ($(wildcard .git),)
FAILOVER_COMMIT ?= $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)
endif
export FAILOVER_COMMIT

# What building needs, and what the lab needs beside that, by Debian package.
BUILD_DEPS = gcc libc6-dev make pkg-config libssl-dev
LAB_DEPS   = postgresql-15 pgpool2 openssh-server openssh-client cron logrotate \
             iproute2 iputils-arping iputils-ping libcap2-bin polkitd e2fsprogs python3-pip

# OpenSSL, which ssh needs, is linked into the tools where its static libraries are there (libssl-dev has
# them): loading it costs a program more than all the rest of its start, and each minute starts two. And
# so the tools run where another version of it is installed.
STATIC_OPENSSL = $(shell lib=$$(pkg-config --variable=libdir openssl 2>/dev/null) && \
    [ -e "$$lib/libssl.a" ] && [ -e "$$lib/libcrypto.a" ] && echo OPENSSL_STATIC=1 \
    OPENSSL_LIB_DIR=$$lib OPENSSL_INCLUDE_DIR=$$(pkg-config --variable=includedir openssl))

# What `make bench` measures against and with. A shorter run: ONLY=failover|recovery|large|idle, REPETITIONS=n.
# BESIDE=DIR measures the tools in that directory, of another commit, and these, and nothing else.
BENCH_DEPS  = repmgr postgresql-15-repmgr strace
ONLY        ?=
BESIDE      ?=
REPETITIONS ?= 9

# What `make dist-test` needs.
DIST_DEPS   = debootstrap rpm qemu-user-static libc6-arm64-cross libcap2-bin

# What needs neither root nor the lab.
UNIT_TESTS = --lib --bins --test no_io --test house --test alone --test plans --test seeds

# How long `make fuzz` runs each target; some: ONLY="conninfo settings".
FUZZ_SECONDS ?= 60

# How many seeds `make simulate` runs.
SEEDS       ?= 10000

.PHONY: help build-deps lab-deps bench-deps build unit test simulate fuzz drills matrix demo bench lint dist dist-test \
    install uninstall clean

# Installs what is missing of $(1). The services of those packages are not started: the lab has its own.
define install-missing
missing=$$(for p in $(1); do \
    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then \
    policy=/usr/sbin/policy-rc.d; \
    if [ ! -e $$policy ]; then \
        trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; \
    fi; \
    apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
fi
endef

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12

build-deps:
	@$(call install-missing,$(BUILD_DEPS))

lab-deps: build-deps
	@$(call install-missing,$(LAB_DEPS))

bench-deps: lab-deps
	@$(call install-missing,$(BENCH_DEPS))

build: build-deps ## build the tools; the Debian packages that this needs are installed (needs root then)
	$(STATIC_OPENSSL) $(CARGO) build --release --locked --workspace

unit: build-deps ## the tests that need neither root nor the lab
	$(STATIC_OPENSSL) $(CARGO) test --release --locked --workspace $(UNIT_TESTS)

test: lab-deps build unit ## all tests, those on the lab included (needs root); one that fails runs once more
	$(STATIC_OPENSSL) CARGO=$(CARGO) target/release/lab_tests

simulate: ## a simulated cluster under faults from SEEDS=n seeds; needs neither root nor the lab
	$(CARGO) run --quiet --locked --package failover-sim --bin simulate -- --seeds $(SEEDS)

fuzz: build-deps ## each reader of what others wrote, a minute each; needs nightly Rust, cargo-fuzz and g++
	@$(CARGO) +nightly fuzz --version >/dev/null || { \
	    echo "needs: rustup toolchain install nightly; cargo install cargo-fuzz; apt-get install g++"; exit 1; }
	@for target in $(or $(ONLY),$$($(CARGO) +nightly fuzz list)); do \
	    echo "== $$target"; \
	    $(STATIC_OPENSSL) $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) \
	        -timeout=10 -rss_limit_mb=512 -max_len=65536 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

drills: lab-deps build ## all failure drills (needs root); some: ONLY="A1 A6"; TABLE=1 writes docs/drills.md
	target/release/drills $(ONLY) $(if $(TABLE),--table)

matrix: lab-deps build ## the full circle on each version of server and pool (needs root, the network); writes docs/versions.md
	target/release/drills --versions $(ONLY) $(if $(ONLY),,--table)

demo: lab-deps build ## a primary loses its power: the story as it happens (needs root)
	target/release/demo

bench: bench-deps build ## figures side by side, an hour; ONLY=failover|recovery|large|idle REPETITIONS=n (needs root)
	target/release/bench --docs docs --repetitions $(REPETITIONS) $(if $(ONLY),--only $(ONLY)) \
	    $(if $(BESIDE),--beside $(BESIDE))

lint: build-deps ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    $(CARGO) deny --locked check licenses bans sources; \
	else \
	    echo "cargo-deny is not installed: licences were not checked"; \
	fi

dist: ## tarball, deb and rpm for x86_64 and aarch64, for glibc 2.17 and later, in target/dist; one: ONLY=aarch64
	CARGO=$(CARGO) sh etc/dist.sh $(ONLY)

dist-test: lab-deps build ## what make dist has built: on Debian 11, as deb, as rpm, on aarch64 by qemu, on the lab (needs root, the network)
	@$(call install-missing,$(DIST_DEPS))
	$(STATIC_OPENSSL) $(CARGO) test --release --locked --package lab --test dist -- --ignored --test-threads=1

install: ## put the tools into $(CLUSTER), what stood there is kept as *.orig (after `make build`)
	@etc/install.sh install "$(DESTDIR)$(CLUSTER)" $(DB_USER) target/release

uninstall: ## put back what stood there
	@etc/install.sh uninstall "$(DESTDIR)$(CLUSTER)" $(DB_USER) target/release

clean: ## remove what was built
	$(CARGO) clean
