# failover-tools. `make help` lists the targets.

CLUSTER ?= /home/kingbase/cluster/R3HA
DB_USER ?= kingbase
DESTDIR ?=
CARGO   ?= cargo
TOOLS    = failover_stream network_rewind vip_ctl attach_node rw_check

# What building and the lab need, by Debian package.
DEPS = gcc libc6-dev make pkg-config libssl-dev \
       postgresql-15 pgpool2 openssh-server openssh-client cron \
       iproute2 iputils-arping iputils-ping libcap2-bin e2fsprogs

.PHONY: help deps build test demo lint install uninstall clean

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

demo: build ## a primary loses its power: the story as it happens (needs root)
	target/release/demo

lint: deps ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

install: ## put the tools into $(CLUSTER)/db/bin and kingbasecluster/bin (after `make build`)
	@for dir in db/bin kingbasecluster/bin; do \
	    install -d "$(DESTDIR)$(CLUSTER)/$$dir" && \
	    for tool in $(TOOLS); do \
	        install -m 0755 target/release/$$tool "$(DESTDIR)$(CLUSTER)/$$dir/$$tool" || exit 1; \
	    done; \
	done
	@# vip_ctl carries rights: root's, and for the database's group only.
	@for dir in db/bin kingbasecluster/bin; do \
	    tool="$(DESTDIR)$(CLUSTER)/$$dir/vip_ctl"; \
	    chown root:$(DB_USER) "$$tool" && chmod 0750 "$$tool" && \
	    setcap cap_net_admin,cap_net_raw+ep "$$tool" || exit 1; \
	done

uninstall: ## remove them again
	@for dir in db/bin kingbasecluster/bin; do \
	    for tool in $(TOOLS); do rm -f "$(DESTDIR)$(CLUSTER)/$$dir/$$tool"; done; \
	done

clean: ## remove what was built
	$(CARGO) clean
