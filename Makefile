# Everything a newcomer needs is `make demo` and `make test`; both do all their own set-up.
# Needs only python3 (3.11 or newer, with venv) and make. The rest is fetched once and cached.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
OUT ?=
# What is killed, hangs, comes and goes, or loses its broker or its positions takes minutes: it runs with the other faults.
FAULTS := $(addprefix tests/e2e/test_,sigkill.py a_killing_event.py a_hanging_extractor.py liveness.py two_workers.py \
	forgotten_positions.py) tests/integration/cli/test_weaviate_killed.py

.DEFAULT_GOAL := help
.PHONY: help demo test chaos test-unit check format lock stack-up stack-down bench-engine bench-pipeline clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: $(READY) ## a conversation, remembered: the whole pipeline on a small stack, in under a minute
	$(PY) -m streams.cli.main demo

test: $(READY) ## all tests but `make chaos`, on real Kafka, Redis and Weaviate that it starts itself
	$(PY) -m pytest $(addprefix --ignore=,$(FAULTS))

chaos: $(READY) ## workers, brokers and stores are killed, frozen and taken away; histories are judged afterwards
	$(PY) -m pytest tests/chaos $(FAULTS)

test-unit: $(READY) ## the tests that need no stack
	$(PY) -m pytest tests/unit

check: $(READY) ## lint, types, layers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(READY) ## format and mend what can be mended
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

stack-up: $(READY) ## start Kafka, Redis and Weaviate as native processes
	$(PY) -m streams.cli.main stack up

stack-down: $(READY) ## stop them; their data stays
	$(PY) -m streams.cli.main stack down

bench-engine: $(READY) ## events/s through the engine, beside bare clients, Faust, Quix Streams, Bytewax (OUT=file.json)
	$(PY) -m benchmarks.engine $(if $(OUT),--out $(OUT))

bench-pipeline: $(READY) ## turns/s from publish to searchable, beside each store alone (OUT=file.json)
	$(PY) -m benchmarks.pipeline $(if $(OUT),--out $(OUT))

lock: ## pin all dependencies anew, by hash
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group dev pyproject.toml --output-file requirements.lock
	grep -E '^uv==' requirements.lock | tr -d '\\' | $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate - --output-file infra/bootstrap.lock

clean: ## remove the environment and what tests left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The environment: uv by hash through pip, everything else by hash through uv. Made anew when a lock changes.
$(READY): requirements.lock infra/bootstrap.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON). next: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11. next: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "error: $(PYTHON) has no venv. next: apt-get install python3-venv"; exit 1; }
	test -x $(VENV)/bin/uv || { $(PYTHON) -m venv $(VENV) \
		&& $(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r infra/bootstrap.lock; }
	$(VENV)/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python $(PY) requirements.lock
	$(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --python $(PY) --editable .
	@touch $@
