# Everything here runs inside .venv, which `make install` builds once; a changed pyproject.toml builds it again.
SHELL := /bin/bash

PYTHON ?= $(shell .ci/python)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SEEDS ?= 50
DURATION ?= $(if $(filter soak,$(MAKECMDGOALS)),3600,$(if $(filter chaos,$(MAKECMDGOALS)),1800,300))
FAULTS ?= all
SEED ?=
BACKLOG ?= 1000000
NODES ?= 3
AMQP_PORT ?= 5672
DATA ?= .data/dev
BENCH_LIMITS := many_queues depth many_clients rebuild

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.NOTPARALLEL:
.PHONY: help install run test containers lint types layers simulate simulate-raft chaos chaos-kill-leader chaos-deep soak bench bench-quick bench-growth bench-limits bench-micro clean

help:
	@echo 'make install            build .venv with everything in it'
	@echo 'make run                a local cluster: NODES=$(NODES) AMQP_PORT=$(AMQP_PORT) DATA=$(DATA)'
	@echo 'make test               linters, types, layers, tests'
	@echo 'make containers         the tests of the image, with a Docker engine of their own (as root)'
	@echo 'make simulate           whole nodes and clients under random faults, about 15 s a seed: SEEDS=$(SEEDS)'
	@echo 'make simulate-raft      consensus alone under random faults: SEEDS=$(SEEDS)'
	@echo 'make chaos              a real cluster under every fault, judged: FAULTS=$(FAULTS) DURATION=30m SEED=7'
	@echo 'make chaos-kill-leader  the same, and only leaders are killed: DURATION=300'
	@echo 'make chaos-deep         little memory, and leaders killed, over a backlog: BACKLOG=$(BACKLOG)'
	@echo 'make soak               a steady load for an hour, drawn, and ten minutes at full speed: DURATION=3600'
	@echo 'make bench              beside RabbitMQ, medians of 3 runs, with plots (about 40 minutes)'
	@echo 'make bench-quick        the main rows of it, once (under 2 minutes)'
	@echo 'make bench-growth       what one more of each costs: connections, bindings, queues, bytes, depth, nodes (about 15 minutes)'
	@echo 'make bench-limits       many queues, deep queues, many clients, a lost disk, each against its goal (part of make bench)'
	@echo 'make bench-micro        the micro benchmarks of the parts'

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/packages build
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'make install: Python 3.11 or newer is needed (set PYTHON=...)' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --prefer-binary --editable '.[dev]'
	@touch $@

run: install
	@exec $(BIN)/clusterd dev --nodes $(NODES) --amqp-port $(AMQP_PORT) --data $(DATA)

lint: install
	$(BIN)/ruff check

types: install
	$(BIN)/mypy $(wildcard cluster chaos bench)

layers: install
	$(BIN)/lint-imports

test: lint types layers
	$(BIN)/python -m pytest -n 2 --dist loadgroup

containers:
	@.ci/engine $(BIN)/python -m pytest tests/containers

simulate: install
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

simulate-raft: install
	$(BIN)/python -m tests.raft.simulate --seeds $(SEEDS)

chaos: install
	$(BIN)/python -m chaos run --faults $(FAULTS) --duration $(DURATION) $(if $(SEED),--seed $(SEED)) $(if $(OTHER),--other $(OTHER))

soak: install
	@missed=0; $(BIN)/python -m bench.soak --seconds $(DURATION) || missed=1; \
		$(BIN)/python -m bench.full_speed --seconds $$(($(DURATION) / 6 + 1)) || missed=1; exit $$missed

chaos-kill-leader: install
	$(BIN)/python -m chaos run --faults kill-leader --duration $(DURATION) $(if $(SEED),--seed $(SEED))

chaos-deep: install
	$(BIN)/python -m chaos run --faults memory,kill-leader --duration $(DURATION) --backlog $(BACKLOG) --gap-max 30 $(if $(SEED),--seed $(SEED))

bench: install
	$(BIN)/python -m bench.beside_rabbitmq --json .data/bench/beside.json --plots .data/bench
	@$(MAKE) bench-limits

bench-quick: install
	$(BIN)/python -m bench.beside_rabbitmq --quick

bench-growth: install
	$(BIN)/python -m bench.growth --json .data/bench/growth.json --plots .data/bench

bench-limits: install
	@missed=0; for rows in $(BENCH_LIMITS); do $(BIN)/python -m bench.$$rows || missed=1; done; exit $$missed

bench-micro: install
	@set -e; for file in bench/micro_*.py; do \
		module=$${file%.py}; echo "== $$module"; $(BIN)/python -m "$${module/\//.}"; done

clean:
	rm -rf .venv .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
