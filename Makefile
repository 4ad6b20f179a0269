# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The client for threads: setup writes it, and again when what it is written from has changed.
THREADS := platform/udair_platform/client/synchronous/.written
READY := $(STAMP) $(THREADS)
HELM := $(VENV)/.helm
OUT ?= runs/demo
PYTEST_ARGS ?=
# Photographs for training and for the quality benchmarks; nothing else needs them.
DATA ?= $(firstword $(wildcard $(UDAIR_DATA) data ../shared/data) data)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-slow test-s3 test-postgres k8s-validate test-k8s test-faults test-hostile test-odd-images lint types layers format check client docs docs-reference fuzz-api bench bench-jobs bench-serving bench-control bench-quality clean dist test-browser test-docs bench-console images docker-lint sbom audit test-rules bench-capacity shape mutants

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Create .venv with everything pinned by constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "python3 (3.11 or later) is needed; install it first" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed; install it first" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(HELM): k8s/chart/get_helm.py | $(STAMP)
	$(BIN)/python k8s/chart/get_helm.py
	@touch $@

$(THREADS): platform/make_synchronous.py $(wildcard platform/udair_platform/client/asynchronous/*.py) | $(STAMP)
	$(BIN)/python platform/make_synchronous.py
	@touch $@

demo: $(READY) ## Run the main job on embedded defaults and show the result
	$(BIN)/udair demo --out $(OUT)

up: $(READY) ## Start a platform on this machine (Ctrl-C stops it)
	$(BIN)/udair up

test: $(READY) ## Run the tests (real Ray, real HTTP S3, real SQLite)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(READY) ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-s3: $(READY) ## Run the storage tests against a second, stricter S3 server (Ceph; Debian packages)
	@for name in radosgw ceph-mon ceph-osd curl; do command -v $$name >/dev/null || { \
		echo "$$name is needed; install it first: apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd curl" >&2; exit 1; }; done
	$(BIN)/python -m pytest -m radosgw $(PYTEST_ARGS)

test-postgres: $(READY) ## Run the control plane's tests on a real PostgreSQL server (Debian package)
	@for name in initdb pg_ctl postgres; do command -v $$name >/dev/null || { \
		echo "$$name is not on PATH; install PostgreSQL first: apt-get install -y --no-install-recommends postgresql" \
			"and add /usr/lib/postgresql/*/bin to PATH" >&2; exit 1; }; done
	$(BIN)/python -m pytest tests/udair_platform --ignore tests/udair_platform/serving --postgres \
		-m "not slow and not faults and not radosgw" $(PYTEST_ARGS)

k8s-validate: $(READY) $(HELM) ## Check the manifests against the schemas of Kubernetes 1.36, KubeRay 1.7, Gateway API 1.6, Kueue 0.19 and Prometheus Operator 0.93, and the chart against them
	@command -v kubectl >/dev/null || { echo "kubectl is needed (its kustomize builds the overlays); install it first" >&2; exit 1; }
	$(BIN)/python -m pytest tests/test_manifests.py tests/test_chart.py $(PYTEST_ARGS)

test-k8s: $(READY) ## Run the KubeRay launcher's contract (UDAIR_TEST_KUBECONFIG=file: on a real cluster)
	$(BIN)/python -m pytest tests/udair_platform -m k8s $(PYTEST_ARGS)

test-faults: $(READY) ## Run the tests with a store that is slow, away, cut off or full of errors
	$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)

test-hostile: $(READY) ## Attack a data plane, and measure what it costs a neighbour
	$(BIN)/python -m pytest tests/udair_platform/serving/test_hostile_images.py -m hostile -s $(PYTEST_ARGS)

test-odd-images: $(READY) ## Send odd files through every door (UDAIR_ODD_IMAGES=folder: yours, too; UDAIR_ODD_OUT=folder: the table)
	$(BIN)/python -m pytest tests/test_odd_images.py -m odd -s $(PYTEST_ARGS)

test-browser: $(READY) ## Run the console's tests in a real browser, and write docs/images (Debian package)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		echo "no Chromium on PATH; install it first: apt-get install -y --no-install-recommends chromium fonts-dejavu-core" >&2; exit 1; }
	UDAIR_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser -m browser $(PYTEST_ARGS)

test-docs: $(READY) ## Do what README, quickstart and how-tos say, in a fresh folder beside a platform (ten minutes on two cores)
	$(BIN)/python -m pytest tests/test_docs_run.py -m docs $(PYTEST_ARGS)

fuzz-api: $(READY) ## Fuzz the control API against its own schema, for at most five minutes
	$(BIN)/python -m pytest -m fuzz $(PYTEST_ARGS)

client: $(STAMP) ## Write the SDK's client for threads from its client for event loops; git ignores it
	$(BIN)/python platform/make_synchronous.py

docs-reference: $(READY) ## Write docs/api.md and docs/reference/ from the code; git ignores them
	$(BIN)/python docs/make_api.py
	$(BIN)/python docs/make_reference.py

docs: docs-reference ## Build the documentation into site/, offline; a link that leads nowhere fails
	$(BIN)/zensical build --strict --clean

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

layers: $(READY) ## import-linter: every arrow points down
	$(BIN)/lint-imports

format: $(READY) ## Rewrite to the format that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# On two cores a real server now and then misses a limit: what failed (1: all were run, and some failed) gets one more try,
# alone, and is named. What fails twice fails.
check: lint types layers $(HELM) ## What CI runs
	@$(BIN)/python -m pytest $(PYTEST_ARGS) || { test $$? -eq 1 && echo "Once more, alone, what failed:" && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

mutants: $(READY) ## Change one thing at a time and see whether the tests notice (TARGETS="gate leases": some; an hour on two cores)
	$(BIN)/python -W ignore tests/mutation $(TARGETS)

shape: $(READY) ## Count the house: declarations of a fact, files on a trip, lengths of files
	$(BIN)/python benchmarks/shape.py --json benchmarks/results/shape.json

bench-quality: $(READY) ## Score the shipped weights: restoration, seams, adaptation, gate, ablation (QUICK=1: minutes)
	@test -d "$(DATA)/test" || { echo "no test images in $(DATA); set DATA=folder (layout: docs/benchmarks.md)" >&2; exit 1; }
	for name in restoration seams adaptation gate ablation; do \
		$(BIN)/python benchmarks/$$name.py --data "$(DATA)" $(if $(QUICK),--quick) \
			--json benchmarks/results/$$name$(if $(QUICK),-quick).json \
			--picture benchmarks/results/$$name$(if $(QUICK),-quick).png || exit 1; \
	done

bench-jobs: $(READY) ## Measure the jobs: snapshots, ingest, source training, batch restoration
	for name in snapshot ingest training batch; do \
		$(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json || exit 1; \
	done

bench-serving: $(READY) ## Measure serving, and simulate autoscaling (PEERS=python with litserve and bentoml)
	$(BIN)/python benchmarks/serving.py $(if $(PEERS),--peers $(PEERS)) $(if $(QUICK),--quick) \
		--json benchmarks/results/serving$(if $(QUICK),-quick).json --picture benchmarks/results/serving$(if $(QUICK),-quick).png
	$(BIN)/python benchmarks/autoscale.py --json benchmarks/results/autoscale.json --picture benchmarks/results/autoscale.png

bench-control: $(READY) ## Measure the control plane (POSTGRES=postgresql://user@host/postgres measures there too)
	$(BIN)/python benchmarks/control_plane.py $(if $(POSTGRES),--postgres $(POSTGRES)) $(if $(QUICK),--quick) \
		--json benchmarks/results/control_plane$(if $(QUICK),-quick).json

bench-console: $(READY) ## Measure what people wait for: console, command line, SDK (Chromium; Debian package)
	for name in console faces; do $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json || exit 1; done

bench: bench-jobs bench-serving ## Run the benchmarks that need no data; results go to benchmarks/results
	$(BIN)/python benchmarks/demo.py --json benchmarks/results/demo.json

dist: $(READY) ## Build wheel and sdist into dist/
	$(BIN)/python -m build

# A client without a server is no engine.
ENGINE ?= $(firstword $(shell for name in docker podman; do $$name info >/dev/null 2>&1 && echo $$name; done))
TAG ?= dev
TORCH_BUILD ?= cpu
AUDIT := build/audit

images: ## Build the images udair-platform and udair-worker (docker or podman; TAG=dev, TORCH_BUILD=cpu or cu128)
	@test -n "$(ENGINE)" || { echo "no docker or podman answers here; start one, or name it: make images ENGINE=..." >&2; exit 1; }
	$(ENGINE) build -f docker/platform.Dockerfile -t udair-platform:$(TAG) .
	$(ENGINE) build -f docker/worker.Dockerfile -t udair-worker:$(TAG) --build-arg TORCH_BUILD=$(TORCH_BUILD) .

docker-lint: $(READY) ## hadolint: the Dockerfiles
	$(BIN)/hadolint docker/*.Dockerfile

sbom: $(READY) ## Write build/sbom.json: everything that is installed, as CycloneDX
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python

# --strict: without it, a service that knows nothing of a package, or cannot be asked, looks like a clean result.
audit: ## Ask PyPI's advisories about every pinned version; whatever cannot be asked is a failure
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement constraints.txt

test-rules: $(READY) ## Run the alerts' unit tests (promtool; Debian package prometheus)
	@command -v promtool >/dev/null || { \
		echo "promtool is needed; install it first: apt-get install -y --no-install-recommends prometheus" >&2; exit 1; }
	$(BIN)/python -m pytest tests/test_monitoring.py $(PYTEST_ARGS)

bench-capacity: $(READY) ## Compute what 10 to 100,000 domains cost, from the measured results
	$(BIN)/python benchmarks/capacity.py --json benchmarks/results/capacity.json --picture benchmarks/results/capacity.png

clean: ## Remove what the targets made, the environment too
	rm -rf $(VENV) dist build runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
