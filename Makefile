# Needs python3 (3.11 or later), make and pip; everything else goes into .venv.
# Another interpreter: make setup PYTHON=python3.12. More arguments for a command: make test ARGS="tests/flow -x".
# pip's own environment variables choose where packages come from, as for a build of torch for one kind of machine.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(shell grep '^torch==' constraints.txt)

DEBIAN := $(VENV)/.debian-

.PHONY: setup quickstart test check bench docs clean
.DEFAULT_GOAL := setup

setup: $(READY)

# torch comes first and alone: asked for together with packages that want any torch, pip may choose another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; use make $(MAKECMDGOALS) PYTHON=python3.12 or the like" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(READY)
	$(BIN)/videoalign quickstart --out runs/quickstart $(ARGS)

# What is not Python comes from Debian; where it cannot be installed, what needs it is left out and says so.
define debian
	@command -v $(or $(3),$(1)) >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; } || \
		echo "$(1) is missing and cannot be installed here: $(2)"
	@touch $@
endef

$(DEBIAN)chromium: | $(READY)
	$(call debian,chromium,the browser tests will be skipped)

$(DEBIAN)ffmpeg: | $(READY)
	$(call debian,ffmpeg,the comparison with its decoding is left out)

$(DEBIAN)postgresql: | $(READY)
	$(call debian,postgresql,the tests with it will be skipped,pg_ctlcluster)

# One torch thread a worker: two workers of one thread beat one worker of two. Files go out in their own order, for by
# their number of tests those with few long ones come last, and one worker waits for the other. Compiled modules are
# kept, whatever is set elsewhere: tests start processes that read them.
test: $(READY) $(DEBIAN)chromium $(DEBIAN)postgresql
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/architecture tests/flow tests/losses tests/stats tests/contracts

bench: $(READY) $(DEBIAN)ffmpeg $(DEBIAN)postgresql
	$(BIN)/python benchmarks/run.py --out runs/bench.json $(ARGS)
	$(BIN)/python benchmarks/serve_load.py --out runs/serve_load.json
	$(BIN)/python benchmarks/annotate_load.py --out runs/annotate_load.json
	$(BIN)/python benchmarks/import_rows.py

docs: $(READY)
	$(BIN)/python docs/reference.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find videoalign tests -name __pycache__ -type d -prune -exec rm -rf {} +
