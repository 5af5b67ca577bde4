# Needs only make and python3 with venv. Each target installs its own tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CATALOGUES := $(patsubst %.po,%.mo,$(wildcard worker/render/locale/*/LC_MESSAGES/*.po))
# modules without I/O: tests cover every branch
comma := ,
PURE := $(subst $() ,$(comma),$(addprefix worker/,model/* plan/* render/* config/channels.py config/csv_import.py config/desired/* \
	config/fields.py config/limits.py config/settings.py config/urls.py config/yaml_reader.py \
	daemon/last_good.py daemon/scheduler.py daemon/suspension.py daemon/notify/changes.py daemon/notify/message.py \
	solapi/account_document.py solapi/baseline.py solapi/in_use.py solapi/signing.py solapi/wire.py \
	telemetry/account_metrics.py web/next_changes.py))

# pytest compiles the tests once
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup messages demo fleet-demo check test lowest static lint types contracts compiled unit simulate wide environments chaos postgres mutate promtool bench docs pictures browser engine containers dist sbom audit lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready $(CATALOGUES) ## create .venv with the project and its pinned tools

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@rm -f $@
	@echo "Setting up $(VENV) (once, about a minute)…"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# the lock is complete; without --no-deps pip would resolve the extras to newer releases
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

# built when the package is installed, and again after a translation changes
$(CATALOGUES): %.mo: %.po | $(VENV)/.ready
	@$(BIN)/pybabel -q compile --input-file $< --output-file $@

messages: setup ## bring the translations up to the messages of the code
	@$(BIN)/python -m tests.tools.messages

demo: setup ## plan, apply and verify on an embedded sandbox, no account needed
	@$(BIN)/senderid demo

fleet-demo: setup ## three workers, 2,000 simulated accounts, a PostgreSQL and a kill -9 (about a minute)
	@$(BIN)/python -m tests.tools.fleet_demo

check: static ## lint, types, contracts and the fast tests, in under 90 seconds
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow' tests/unit tests/property

test: static unit ## lint, types, import contracts and all tests

lowest: setup ## run the command with the lowest versions that pyproject.toml allows
	$(BIN)/python -m pytest -q tests/e2e/test_lowest_versions.py

# scopes of the word check, see tests/tools/words.py
PROSE := docs worker messages tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.tools.words $(PROSE)

# both processors work: mypy uses one of them
static: setup
	@$(MAKE) --no-print-directory --jobs=2 types lint contracts compiled

# each process of pytest would compile all tests; an error is shown by the run itself
compiled: setup
	@$(BIN)/python -m pytest -q --collect-only >/dev/null || true

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

unit: setup
	$(BIN)/python -m pytest -q -n 5 --dist worksteal --cov --cov-report=term:skip-covered
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100

simulate: setup ## 100,000 seeds of the simulation, see docs/explanation/simulation.md (SENDERID_SEEDS=… for more or fewer)
	SENDERID_SEEDS=$${SENDERID_SEEDS:-100000} $(BIN)/python -m pytest -q -n auto --dist worksteal tests/simulation

wide: setup ## the property tests with ten times the examples, new ones each time (about fifteen minutes)
	HYPOTHESIS_PROFILE=wide $(BIN)/python -m pytest -q -n auto --dist worksteal -m hypothesis tests/unit tests/property tests/simulation

environments: setup ## the end-to-end tests on an unusual machine, see tests/support/environments.py (about ten minutes; needs cc)
	SENDERID_TEST_MACHINE="$${SENDERID_TEST_MACHINE:-seoul korean homeless private slow strict}" setsid --wait \
		$(BIN)/python -X dev -m pytest -q -n auto --dist worksteal tests/e2e < /dev/null

chaos: setup ## kill and stop 325 runs with a shared ledger at random, and print what was lost (some minutes)
	SENDERID_CHAOS=10 $(BIN)/python -m pytest -q -s tests/e2e/test_chaos.py

postgres: setup ## the tests of the shared ledger with the PostgreSQL of this machine, TLS and PgBouncer (apt-get install postgresql pgbouncer)
	SENDERID_TEST_POSTGRES=$${POSTGRES:-$(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))} $(BIN)/python -m pytest -q -n auto \
		--dist worksteal tests/unit/ledger tests/e2e/test_kills.py tests/e2e/test_shared_ledger.py tests/e2e/test_fleet.py tests/e2e/test_postgres_server.py \
		-k "postgres or shared_ledger or leases or fence or agenda or publications or fleet"

mutate: setup ## change functions that differ from main and check that tests fail (BASE=… PATHS=… ALL=1 SAMPLE=…), see docs/explanation/mutation.md
	@$(BIN)/python -m tests.tools.mutation $(if $(BASE),--base $(BASE)) $(if $(ALL),--all) $(if $(SAMPLE),--sample $(SAMPLE)) $(PATHS)

promtool: ## check the alert rules and run their tests, with Prometheus' own tool
	@command -v promtool >/dev/null || { echo "promtool is missing: it comes with Prometheus (apt-get install prometheus, brew install prometheus)"; exit 1; }
	promtool check rules deploy/prometheus/rules.yml
	promtool test rules deploy/prometheus/rules-test.yml

bench: setup ## the figures of docs/figures.md (several minutes)
	$(BIN)/python benchmarks/all.py

docs: setup ## build the documentation as a site, in build/site
	LC_ALL=C.UTF-8 $(BIN)/sphinx-build -W --keep-going -n -q -b html docs build/site
	@echo "Open build/site/index.html"

pictures: setup ## render the pictures of the README, see docs/pictures.py
	$(BIN)/python docs/pictures.py

# without windows, Chromium needs half of the time
browser: ## install the Chromium that tests of pages use (Debian and Ubuntu, as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-noto-cjk

# tools of tests/containers, by the names of their Debian packages
ENGINE := buildah catatonit debootstrap podman runc

engine: ## install the container engine of `make containers` (Debian and Ubuntu, as root)
	@command -v apt-get >/dev/null || { echo "there is no apt-get: install $(ENGINE) with your package manager"; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(ENGINE)

containers: setup ## build the image and run each deployment in containers, as root on Linux (about seven minutes)
	@for tool in $(ENGINE); do PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || exec $(MAKE) engine; done
	$(BIN)/python -m pytest -q tests/containers

dist: setup ## build the wheel and the source distribution into dist/, and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

sbom: setup ## write the bill of materials of a release (CycloneDX) to dist/
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file dist/senderid.cdx.json deploy/docker/runtime.lock

audit: setup ## check all locked packages for known vulnerabilities (needs the internet)
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements-dev.lock

lock: ## resolve the lock files again from pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --upgrade 'pip>=25.1' uv
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade --all-extras \
		--output-file requirements-dev.lock --group dev pyproject.toml
	@# the image and the build of its wheel use the versions of the tests
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade --constraint requirements-dev.lock --all-extras \
		--output-file deploy/docker/runtime.lock pyproject.toml
	printf 'babel\nhatchling\n' | $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links --upgrade --constraint requirements-dev.lock \
		--output-file deploy/docker/build.lock -
	rm -rf $(VENV)-lock

clean: ## remove the files that other targets create
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache mutants
