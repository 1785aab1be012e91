# Every target makes and reuses its own virtual environment; nothing is installed outside this folder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Two distributions: monge, here, and monge_papers, in papers/. Everything below serves both.
# An editable installation knows its files by name: when some come or go, it is made anew.
FILES  := $(shell find src papers/src -name '*.py' | LC_ALL=C sort | cksum | cut -d' ' -f1)
STAMP  := $(VENV)/.installed-$(FILES)
# The demo needs Monge, pictures and data, but none of the tools of developers.
LIGHT  := $(VENV)/.demo-$(FILES)
INPUTS := pyproject.toml papers/pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/* native/*/*)

.DEFAULT_GOAL := help
.PHONY: help install demo test sanitize lint docs bench clean

help:
	@echo "make demo     colours of photographs by optimal transport, digits by balanced attention; writes runs/demo/"
	@echo "make test     run the test suite"
	@echo "make sanitize run the tests of the kernels on a build that stops at faults of memory and arithmetic"
	@echo "make lint     ruff (lint and format) and pyright"
	@echo "make docs     build the documentation into docs/_build/html, warnings are errors"
	@echo "make bench    run the benchmarks; results go to benchmarks/results/"
	@echo "make clean    remove builds, caches and the virtual environment"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The build tools go first, at pinned versions, so that no build happens in an environment of its own.
$(STAMP): PACKAGES := -e '.[dev]' -e ./papers
$(LIGHT): PACKAGES := -e '.[embed,plot]'
$(STAMP) $(LIGHT): $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt scikit-build-core nanobind cmake ninja
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation $(PACKAGES)
	@touch $@

install: $(STAMP)

demo: $(or $(wildcard $(STAMP)),$(LIGHT))
	$(BIN)/monge demo --out runs/demo

# One thread a process: on tensors as small as those of tests and examples, threads wait longer than they work.
test docs: export OMP_NUM_THREADS = 1

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

# The tests run without the site module, which would import the installed package; the package stands beside its kernels
# in build/. Python itself never frees all it allocates, so leaks are not looked for.
SANITIZED := build/sanitized
SITE = $(shell $(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
sanitize: $(STAMP)
	$(BIN)/cmake -S . -B $(SANITIZED) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=Release \
		-DMONGE_SANITIZE=ON -DPython_EXECUTABLE=$(abspath $(BIN))/python
	$(BIN)/cmake --build $(SANITIZED)
	rm -rf $(SANITIZED)/package && cp -r src $(SANITIZED)/package && rm -f $(SANITIZED)/package/monge/kernels/*.so
	$(BIN)/cmake --install $(SANITIZED) --prefix $(abspath $(SANITIZED))/package
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 \
		PYTHONPATH=$(SANITIZED)/package:papers/src:$(SITE) \
		$(BIN)/python -S -m pytest tests/kernels -q -p no:cacheprovider

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pyright --pythonpath $(BIN)/python

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -j auto -b html docs docs/_build/html

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build docs/gallery docs/gallery_papers docs/generated .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
