# Each target sets up what it needs, in .venv; nothing but Python 3.11+, make and a package registry.
PYTHON ?= python3
WORKERS ?= 4
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
CLIENTS := $(patsubst tests/conformance/requirements/%.txt,.venv-clients/%/.done,$(wildcard tests/conformance/requirements/*.txt))
# Where there is no Node, its clients are skipped.
NODE := $(if $(shell command -v npm),tests/conformance/node/node_modules)
PEERS := $(patsubst benchmarks/peers/requirements/%.txt,.venv-peers/%/.done,$(wildcard benchmarks/peers/requirements/*.txt))

.PHONY: install demo test test-long e2e-aws conformance fuzz check scan format up build bench bench-million bench-peers mutate clean

install: .venv/.dev ## everything for development

demo: .venv/.run ## a real batch through the whole stack, from zero instances and back
	$(BIN)/python -m backburner_local.demo

up: .venv/.run ## the whole stack, until Ctrl-C
	$(BIN)/backburner up

# Tests start hundreds of processes; none of them need compile again what another one has.
test test-long: export PYTHONDONTWRITEBYTECODE :=
# Run by other targets: each worker would import them for nothing.
test test-long: ELSEWHERE := $(addprefix --ignore=tests/,aws/test_permissions.py conformance e2e_aws)

test: .venv/.dev ## every test but the long ones
	$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ELSEWHERE) -m "not long and not aws and not gpu and not e2e_aws and not conformance"

test-long: .venv/.dev ## the long ones too
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ELSEWHERE) -m "not aws and not gpu and not e2e_aws and not conformance"

e2e-aws: .venv/.dev .venv-aws/.done ## the deployed template on another AWS emulator, its roles enforced
	$(BIN)/pytest -q -n 2 --dist loadfile tests/aws/test_permissions.py
	$(BIN)/pytest -q tests/e2e_aws

conformance: .venv/.dev $(CLIENTS) $(NODE) ## clients of OpenAI and Anthropic, old and new, against the stack
	$(BIN)/pytest -q tests/conformance

fuzz: .venv/.dev .venv-clients/schemathesis/.done ## requests made from the API's document, against the stack; see --help in ARGS
	nice $(BIN)/python -m tests.conformance.fuzz $(ARGS)

check: .venv/.dev scan ## format, lint, types, direction of imports, template
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint --regions us-east-1 eu-west-1 -- template.yaml .venv/expanded.json

scan: .venv-checkov/.done .venv/expanded.json ## insecure settings in the template
	.venv-checkov/bin/checkov --config-file .checkov.yaml -f .venv/expanded.json

format: .venv/.dev
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

build: .venv-sam/.done ## sam build and validate, without Docker
	.venv-sam/bin/sam build
	.venv-sam/bin/sam validate --lint --region us-east-1

bench: .venv/.dev ## figures, each beside its floor in the same run
	$(BIN)/python -m benchmarks.bench

bench-million: .venv/.dev ## memory and time of a file of a million lines, into the same page
	$(BIN)/python -m benchmarks.bench --million

bench-peers: .venv/.dev $(PEERS) ## beside Celery, RQ and others; --only NAME in ARGS for one
	$(BIN)/python -m benchmarks.peers $(ARGS)

mutate: .venv-mutate/.done ## change the domain and services and see whether a test notices; see --help in ARGS
	nice -n 19 .venv-mutate/bin/python -m tests.mutation $(ARGS)

clean:
	rm -rf .venv .venv-aws .venv-checkov .venv-mutate .venv-peers .venv-sam .aws-sam .mutate .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Backburner needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[local,model]'
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) -e '.[local,model,dev]'
	@touch $@

.venv-aws/.done: constraints-aws.txt
	$(PYTHON) -m venv .venv-aws
	.venv-aws/bin/pip install --quiet --disable-pip-version-check -r constraints-aws.txt
	@touch $@

.venv-clients/%/.done: tests/conformance/requirements/%.txt
	$(PYTHON) -m venv .venv-clients/$*
	.venv-clients/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

tests/conformance/node/node_modules: tests/conformance/node/package-lock.json
	cd tests/conformance/node && npm ci --no-audit --no-fund
	@touch $@

.venv-sam/.done: constraints-sam.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/bin/pip install --quiet --disable-pip-version-check -r constraints-sam.txt
	@touch $@

.venv-peers/%/.done: benchmarks/peers/requirements/%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-mutate/.done: constraints-mutate.txt
	$(PYTHON) -m venv .venv-mutate
	.venv-mutate/bin/pip install --quiet --disable-pip-version-check -r constraints-mutate.txt
	@touch $@

# What SAM makes of the template: linters and scanners must see it.
.venv/expanded.json: .venv/.dev template.yaml tests/template/expand.py
	$(BIN)/python -m tests.template.expand template.yaml > $@.new
	mv $@.new $@

.venv-checkov/.done: constraints-checkov.txt
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check -r constraints-checkov.txt
	@touch $@
