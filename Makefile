# `make help` says what there is. Nothing but Rust has to be installed: what is missing comes from apt.
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run test soak lint bench bench-instructions bench-allocations bench-memory bench-revocation bench-streams
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
# Debian keeps PostgreSQL's server, and servers in general, where users do not look.
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:$(lastword $(wildcard /usr/lib/postgresql/*/bin))
built = $${CARGO_TARGET_DIR:-target}

# $(call need,command:package[+package] …): installs the packages of the commands that are not there.
define need
	@missing=""
	for pair in $(1); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $$(tr + ' ' <<<"$${pair#*:}")"; done
	if [ -n "$$missing" ]; then
		command -v apt-get >/dev/null || { echo "please install:$$missing" >&2; exit 1; }
		echo "installing$$missing"
		sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo"
		$$sudo apt-get update -qq
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
	fi
	command -v cargo >/dev/null || { echo "please install Rust: https://rustup.rs" >&2; exit 1; }
endef
# zlib-ng, aws-lc and SQLite are built from their sources.
to_build = cc:gcc+libc6-dev cmake:cmake
# Servers that tests break, and clocks that they set (libfaketime comes with faketime).
to_break = redis-server:redis-server redis-cli:redis-tools postgres:postgresql mariadbd:mariadb-server faketime:faketime
# Debian's python3 cannot make virtual environments; there is no command by which to tell.
venv = $(shell python3 -c "import ensurepip, venv" 2>/dev/null || echo no-venv:python3-venv)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

run: ## builds and runs the gateway on 127.0.0.1:8080, with the example service behind it
	$(call need,$(to_build) curl:curl+ca-certificates jq:jq)
	cargo build --release --locked --bin portcullis --example upstream
	$(built)/release/examples/upstream --listen 127.0.0.1:3000 & upstream=$$!
	$(built)/release/portcullis run --config gateway.toml --data-dir data & gateway=$$!
	stop() { trap - EXIT; kill $$upstream $$gateway 2>/dev/null || true; wait || true; }
	trap stop EXIT; trap 'exit 0' INT TERM
	until curl -s -o /dev/null http://127.0.0.1:8080/; do
		kill -0 $$upstream 2>/dev/null || { echo "the example service ended: is port 3000 taken?" >&2; exit 1; }
		kill -0 $$gateway 2>/dev/null || { echo "the gateway ended: see above" >&2; exit 1; }
		sleep 0.1
	done
	echo; cat <<'LINES'
	Portcullis is up. In another terminal, line by line:
	curl -s localhost:8080/auth/register -H 'content-type: application/json' -d '{"username":"ada","password":"correct horse battery staple"}'
	TOKEN=$$(curl -s localhost:8080/auth/login -H 'content-type: application/json' -d '{"username":"ada","password":"correct horse battery staple"}' | jq -r .access_token)
	curl -s localhost:8080/whoami -H "authorization: Bearer $$TOKEN"
	curl -s -X POST localhost:8080/auth/logout -H "authorization: Bearer $$TOKEN"
	curl -s localhost:8080/whoami -H "authorization: Bearer $$TOKEN"
	The last one is refused: the token is revoked. Ctrl-C ends both.
	LINES
	wait -n $$upstream $$gateway || true
	echo "one of the two ended by itself: see above" >&2; exit 1

test: ## the whole suite, with real Redis, PostgreSQL, MariaDB and nginx servers, schemathesis, curl and h2load
	$(call need,$(to_build) $(to_break) nginx:nginx python3:python3 $(venv) curl:curl h2load:nghttp2-client)
	pins=tests/gateway/openapi/requirements.txt venv=$(built)/schemathesis
	cmp -s "$$pins" "$$venv/installed.txt" || {
		python3 -m venv --clear "$$venv"
		"$$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$$pins"
		cp "$$pins" "$$venv/installed.txt"
	}
	cargo test --locked

soak: ## random faults at three gateways for a quarter of an hour, then what is counted in thousands: see ARCHITECTURE.md
	$(call need,$(to_build) $(to_break))
	cargo test --locked --test gateway -- --ignored --exact --nocapture --test-threads 1 \
		outages::soak::random_faults_let_no_revoked_token_in outages::soak::thousands_of_revocations_are_seen_by_every_gateway \
		refresh::crowd::crowds_of_every_size_get_one_successor_each

lint: ## formatting, clippy and documentation, warnings denied
	$(call need,$(to_build))
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench: ## throughput, latency and CPU beside other proxies, and which bars are held; needs two quiet cores
	$(call need,$(to_build) python3:python3)
	python3 benches/gateway/tls.py
	python3 benches/gateway/idle.py --no-build || true
	python3 benches/gateway/flood.py --no-build || true
	python3 benches/gateway/run.py --no-build

bench-instructions: ## user instructions per request, counted by callgrind
	$(call need,$(to_build) python3:python3)
	python3 benches/gateway/instructions.py

bench-allocations: ## allocations per request, counted by callgrind; fails above the recorded numbers
	$(call need,$(to_build) python3:python3)
	python3 benches/gateway/instructions.py --requests 200 --repeat 1 --allocations-at-most benches/gateway/allocations.json

bench-memory: ## bytes per record in the mirror of the revoked set, for one and ten million records
	$(call need,$(to_build))
	cargo run --release --locked --example mirror_memory

bench-revocation: ## how soon another replica refuses what was revoked, and a million revocations loaded by a mirror
	$(call need,$(to_build) python3:python3 redis-server:redis-server postgres:postgresql)
	python3 benches/gateway/revocation.py

bench-streams: ## how long ten thousand live streams on three replicas outlive their sessions
	$(call need,$(to_build) python3:python3 redis-server:redis-server postgres:postgresql)
	python3 benches/gateway/streams.py
