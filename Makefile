# failover-tools. `make help` lists the targets.

CLUSTER ?= /home/kingbase/cluster/R3HA
DB_USER ?= kingbase
DESTDIR ?=
CARGO   ?= cargo

# What building and the lab need, by Debian package.
DEPS = gcc libc6-dev make pkg-config libssl-dev \
       postgresql-15 pgpool2 openssh-server openssh-client cron \
       iproute2 iputils-arping iputils-ping libcap2-bin e2fsprogs

.PHONY: help deps build test drills demo lint install uninstall clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12

deps: ## install the Debian packages that are missing (needs root)
	@missing=$$(for p in $(DEPS); do \
	    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

build: deps ## build the tools
	$(CARGO) build --release --locked --workspace

test: build ## all tests, those on the lab included (needs root)
	$(CARGO) test --release --locked --workspace

drills: build ## all failure drills (needs root); some: ONLY="A1 A6"; TABLE=1 writes docs/drills.md
	target/release/drills $(ONLY) $(if $(TABLE),--table)

demo: build ## a primary loses its power: the story as it happens (needs root)
	target/release/demo

lint: deps ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

install: ## put the tools into $(CLUSTER), what stood there is kept as *.orig (after `make build`)
	@etc/install.sh install "$(DESTDIR)$(CLUSTER)" $(DB_USER) target/release

uninstall: ## put back what stood there
	@etc/install.sh uninstall "$(DESTDIR)$(CLUSTER)" $(DB_USER) target/release

clean: ## remove what was built
	$(CARGO) clean
