# What can be done with this checkout? `make` lists it. Everything is written under target/ (installed packages and cargo's caches apart).

# Another PostgreSQL: make test PG_CONFIG=/path/to/pg_config (15 to 18). WITHOUT_HEADERS=1 where its headers are not there.
PG_CONFIG ?= pg_config
export WITHOUT_HEADERS ?=
# A PostgreSQL with Citus, for the tests that need it: make test CITUS=/path/to/pg_config ONLY=citus.
ifneq ($(CITUS),)
PG_CONFIG := $(CITUS)
endif
# Each test has a server of its own, so tests can run in parallel; more than the cores would only slow each down.
TEST_THREADS ?= 2

TESTS := webhook_delivery_tests

.DEFAULT_GOAL := help
.PHONY: help setup build demo check test pictures bench install package deb clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what is missing, or say which package to install
	@tests/setup.sh "$(PG_CONFIG)"

build: setup ## compile the extension and install it into a private server under target/
	@tests/build.sh

demo: build ## show the whole path at work: row change, signed request, history; VERBOSE=1 shows all
	@tests/rest/setup.sh
	@cargo build --quiet -p $(TESTS) --bins
	@cargo run --quiet -p $(TESTS) --bin demo

# What needs no server: format, words, lints, the sender's unit tests.
check: setup ## format, lints and tests that need no server
	@tests/check.sh

# With a PostgREST of one's own: make test POSTGREST=/path/to/postgrest. Without it a server is built that speaks its protocol.
# Only some files or folders of tests/: make test ONLY="capture worker"; of these, tests by name: TEST=rollback.
test: build ## run all tests; some with ONLY="capture worker" and TEST=part_of_a_name
	@tests/rest/setup.sh
	@tests/node/setup.sh
	@tests/exporter/setup.sh
	@TEST_THREADS=$(TEST_THREADS) tests/run.sh "$(ONLY)" "$(TEST)"

# The page's test makes them.
pictures: build ## update the README's pictures of the page
	@tests/rest/setup.sh
	@tests/node/setup.sh
	@cargo test --quiet -p $(TESTS) --test page page_shows_a_week
	@cp target/pictures/endpoints.png target/pictures/delivery.png target/pictures/phone.png tests/page/pictures/

bench: build ## measure, print and write target/bench.json
	@cargo build --quiet --release -p $(TESTS) --bins
	@cargo run --quiet --release -p $(TESTS) --bin bench

# These need nothing of what only the tests run.
install package deb:
	@tests/setup.sh "$(PG_CONFIG)" build
	@tests/build.sh $@
install: ## compile and install into the server of PG_CONFIG=/path/to/pg_config
package: ## compile, and put the files to install into target/package/
deb: ## make a Debian package for the PostgreSQL of PG_CONFIG

clean: ## remove target/
	rm -rf target
