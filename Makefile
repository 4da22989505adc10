# The two commands of the README are `make run` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
DATA ?= ./data
STAGE ?= dev
STACK ?= image-poster-$(STAGE)
AWS_VENV := .venv-aws
# Those of `make tools-aws`, or whichever are there.
SAM ?= $(or $(wildcard $(AWS_VENV)/sam/bin/sam),sam)
CHECKOV ?= $(or $(wildcard $(AWS_VENV)/checkov/bin/checkov),checkov)
TEMPLATE ?= infra/template.yaml
# `--upgrade` takes newer releases than those that are locked.
UPGRADE ?=
IMAGES_RUN ?= 1000
FUZZ_SECONDS ?= 600

# Takes what a lock names and nothing else, each file by its hash, built with what is locked too.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation
# Litestar asks for polyfactory (and that for Faker) to invent examples for the OpenAPI document,
# which we do not let it: docs/decisions/0018.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --custom-compile-command 'make lock' \
	--no-emit-package polyfactory --no-emit-package faker
# One release of each, which those of other Pythons have to do with too.
ONE_PLATFORM := --no-universal --python-platform linux --python-version 3.11

.PHONY: help run web web-dev web-check browser screenshots docs tables contract collection collection-run sample aws-local package deploy test test-all check lint types documents bench bench-smoke lock audit crash power-loss walks images-run fuzz peers peers-directus storm attacks tools-debian tools-aws deploy-waf destroy check-aws rehearse scale clean

help:  ## List what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: $(VENV)/installed  ## Install, and serve the local edition on PORT (8080) from DATA (./data)
	@echo 'Sample images: run "make sample" in another terminal. Stop with Ctrl-C.'
	@exec $(BIN)/image-poster serve --port $(PORT) --data-dir $(DATA)

sample: $(VENV)/installed  ## Post sample images and comments to the server on PORT
	@$(BIN)/python scripts/sample.py http://127.0.0.1:$(PORT)

# The tests start hundreds of processes: where none may keep bytecode, each compiles all of our code.
test test-all: export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal
test: $(VENV)/installed-dev  ## Run the tests that show whether a change is right, in two processes (two minutes)
	$(PYTEST) -m 'not slow' --ignore tests/lint

test-all: $(VENV)/installed-dev  ## Run all tests that `make test` leaves out: crashes, browsers, AWS, proxies, commands
	$(PYTEST) -m slow

peers:  ## Install other people's clients and servers (with npm), for tests and benchmarks
	npm ci --prefix tests/peers --silent

peers-directus:  ## Install Directus (with npm; it is large, and compiles for minutes), for `make bench ONLY=posting`
	npm ci --prefix benchmarks/peers/directus --silent

web: web/node_modules/.installed $(VENV)/installed  ## Build the gallery from web/ into the package (needs node 20); commit what it makes
	mkdir -p dist && $(BIN)/image-poster openapi > dist/openapi.json
	$(BIN)/python scripts/image_types.py dist/image-types
	cp dist/image-types/image-types.ts web/src/ && cp dist/image-types/heads.json web/tests/
	cd web && npm run --silent schema -- ../dist/openapi.json --output src/schema.ts && npm run --silent build

web-dev: web/node_modules/.installed  ## Serve the gallery's source with reload, for the server on PORT (8080)
	cd web && IMAGE_POSTER_URL=http://127.0.0.1:$(PORT) npm run --silent dev

web-check: web/node_modules/.installed $(VENV)/installed  ## See that the gallery's types, tests and committed build are right
	mkdir -p dist && $(BIN)/image-poster openapi > dist/openapi.json
	cd web && npm run --silent schema -- ../dist/openapi.json --output ../dist/schema.ts
	@diff -q web/src/schema.ts dist/schema.ts || { echo 'the API has changed: "make web", and commit web/src/schema.ts' >&2; exit 1; }
	$(BIN)/python scripts/image_types.py dist/image-types
	@diff -q web/src/image-types.ts dist/image-types/image-types.ts && diff -q web/tests/heads.json dist/image-types/heads.json \
		|| { echo 'the types of images have changed: "make web", and commit web/src/image-types.ts and web/tests/heads.json' >&2; exit 1; }
	cd web && npm run --silent types && npm run --silent test && npm run --silent check

browser: web/node_modules/.installed $(VENV)/installed-dev  ## Test the gallery in chromium, the long way: more and larger images over worse networks
	BROWSER=1 $(BIN)/python -m pytest -q tests/browser

screenshots: $(VENV)/installed-dev  ## Make the screenshots of docs/gallery.md anew; look at them
	PYTHONPATH=tests:infra $(BIN)/python scripts/screenshots.py docs/gallery

web/node_modules/.installed: web/package-lock.json
	npm ci --prefix web --silent
	touch $@

aws-local: $(VENV)/installed-dev  ## Serve the whole AWS edition on an emulator, on PORT (8080)
	@PYTHONPATH=infra exec $(BIN)/python -m aws_local --port $(PORT)

package: $(VENV)/installed-dev  ## Make the three Lambdas' zips and what lists their contents (dist/), and print sizes and import times
	@PYTHONPATH=infra $(BIN)/python -m lambda_zips

deploy: package  ## Deploy to AWS as STACK, for STAGE (dev or prod); PARAMETERS='AlarmEmail=… …' (docs/aws.md)
	@command -v $(SAM) >/dev/null || { echo 'deploying needs the SAM CLI: make tools-aws' >&2; exit 1; }
	$(SAM) deploy --template-file $(TEMPLATE) --stack-name $(STACK) --resolve-s3 --no-fail-on-empty-changeset \
		--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides Stage=$(STAGE) $(PARAMETERS)
	@$(BIN)/python infra/gallery_bucket.py $(STACK)

attacks: $(VENV)/installed-dev  ## Attack the service, alone and behind the proxies of deploy/ (or FRONTS=nginx), and see whom it hurts
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/attacks.py $(FRONTS)

tools-debian:  ## Install what some tests start and skip where it is missing (Debian, as root): browsers, proxies, systemd's checks
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
		caddy chromium chromium-driver faketime firefox-esr libseccomp2 libvips-tools nginx-light systemd \
		webkit2gtk-driver xvfb

tools-aws: $(AWS_VENV)/installed  ## Install SAM and checkov, as locked, into .venv-aws/, for `make check-aws` and the tests that ask them

$(AWS_VENV)/installed: locks/checkov.txt locks/sam.txt | $(VENV)/installed-dev
	@for tool in checkov sam; do \
		$(BIN)/python -m venv --clear --without-pip $(AWS_VENV)/$$tool && \
		$(BIN)/uv pip install --quiet --python $(AWS_VENV)/$$tool/bin/python --no-deps \
			--require-hashes --requirement locks/$$tool.txt || exit 1; \
	done
	@touch $@

deploy-waf:  ## Deploy what is before CloudFront, in us-east-1; prints WebAclArn, a parameter of `make deploy`
	@command -v $(SAM) >/dev/null || { echo 'deploying needs the SAM CLI: make tools-aws' >&2; exit 1; }
	$(SAM) deploy --template-file infra/waf.yaml --stack-name $(STACK)-waf --region us-east-1 --resolve-s3 \
		--no-fail-on-empty-changeset $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

destroy: $(VENV)/installed-dev  ## Delete STACK, of stage dev, with all that is in it
	@PYTHONPATH=infra $(BIN)/python -m destroy $(STACK)

rehearse: package tools-aws  ## Deploy both stages to an emulator, change one, destroy dev, by these very commands
	@PYTHONPATH=infra $(BIN)/python -m aws_local.rehearsal

check-aws: $(VENV)/installed-dev  ## Check the templates: cfn-lint, and SAM's and checkov's opinion where those are installed
	$(BIN)/cfn-lint infra/template.yaml infra/waf.yaml
	@command -v $(SAM) >/dev/null && for one in template waf; do $(SAM) validate --lint --template infra/$$one.yaml || exit 1; done \
		|| { ! command -v $(SAM) >/dev/null && echo 'no SAM CLI here: make tools-aws'; }
	@command -v $(CHECKOV) >/dev/null && BC_SKIP_MAPPING=TRUE $(CHECKOV) --config-file infra/checkov.yaml \
		|| { ! command -v $(CHECKOV) >/dev/null && echo 'no checkov here: make tools-aws'; }

storm: $(VENV)/installed-dev  ## Post ten 10 MB photographs through a bad network, also killed and repeated
	STORM=1 $(BIN)/python -m pytest -v -k ten_photographs tests/e2e/test_bad_networks.py

crash: $(VENV)/installed-dev  ## Kill the server 200 times under load and check what it kept
	CRASH_ROUNDS=200 $(BIN)/python -m pytest -q tests/e2e/test_crash.py

power-loss: $(VENV)/installed-dev  ## Cut the power at POWER_LOSS_PREFIXES (1000) moments of a recorded run and open what is left
	POWER_LOSS_PREFIXES=$${POWER_LOSS_PREFIXES:-1000} $(BIN)/python -m pytest -q tests/e2e/test_power_loss.py

walks: $(VENV)/installed-dev  ## Walk over the feed 1,000 times beside 64 writers (24 beside 8 on the emulator): 0 repeated, 0 missed
	WALKS=1000 WRITERS=64 $(BIN)/python -m pytest -q -s -n 0 -k 'beside_writers and local' tests/contract/http/test_walks.py
	WALKS=24 WRITERS=8 $(BIN)/python -m pytest -q -s -n 0 -k 'beside_writers and aws' tests/contract/http/test_walks.py

images-run: $(VENV)/installed-dev  ## Post IMAGES_RUN (1000) generated images, whole and damaged, beside others who wait
	IMAGES_RUN=$(IMAGES_RUN) $(BIN)/python -m pytest -q -s tests/e2e/test_generated_images.py

fuzz: $(VENV)/installed-dev  ## Fuzz the reading of headers, EXIF and profiles for FUZZ_SECONDS (600); new inputs go to .fuzz/
	$(INSTALL) --require-hashes --requirement locks/fuzz.txt
	@mkdir -p .fuzz
	PYTHONPATH=tests $(BIN)/python tests/fuzz/run.py .fuzz tests/fuzz/corpus \
		-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 -artifact_prefix=.fuzz/

check: lint types documents  ## Lint, types, import directions, and whether docs and names keep the rules

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/installed-dev
	$(BIN)/mypy

documents: $(VENV)/installed-dev
	$(PYTEST) tests/lint

docs: $(VENV)/installed-dev  ## Build the documentation as a site (site/index.html), broken links as errors
	@$(BIN)/python scripts/docs.py

tables: $(VENV)/installed-dev  ## Write the tables of docs/settings.md and docs/problems.md from the code
	@$(BIN)/python scripts/tables.py

contract: $(VENV)/installed-dev  ## Record the contract that code may not change by accident (tests/lint/contract.json)
	@$(BIN)/python scripts/recorded_contract.py

collection: $(VENV)/installed-dev  ## Make docs/collection/ (an .http file, an Insomnia collection) from the OpenAPI document
	@$(BIN)/python scripts/collection.py

collection-run: $(VENV)/installed  ## Send the .http file's requests to the server on PORT, with httpYac (make peers)
	@$(BIN)/python scripts/collection_run.py http://127.0.0.1:$(PORT)

bench: $(VENV)/installed-dev  ## Run all benchmarks (or ONLY=uploads) and print the table of ratios
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/run.py $(ONLY)

bench-smoke: $(VENV)/installed-dev  ## See that all benchmarks (or ONLY=uploads) run, in a minute; judge nothing
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/run.py --smoke $(ONLY)

scale: $(VENV)/installed-dev  ## Count what the AWS edition costs DynamoDB, model it at 100 to 10,000 requests/s, and write that into docs/aws-costs.md
	@PYTHONPATH=tests:infra:benchmarks $(BIN)/python benchmarks/scale.py

lock: $(VENV)/installed-dev  ## Lock what pyproject.toml asks for, with hashes (UPGRADE=--upgrade: newer releases)
	$(COMPILE) $(UPGRADE) pyproject.toml --extra server --extra aws --group build --group dev --group docs --group bench -o constraints.txt
	$(COMPILE) --constraint constraints.txt pyproject.toml --extra server -o locks/server.txt
	$(COMPILE) --constraint constraints.txt --group build -o locks/build.txt
	$(COMPILE) --group fuzz -o locks/fuzz.txt
	$(COMPILE) $(ONE_PLATFORM) --group checkov -o locks/checkov.txt
	$(COMPILE) $(ONE_PLATFORM) --group sam -o locks/sam.txt

audit: $(VENV)/installed-dev  ## Look for known vulnerabilities in what is locked
	@$(BIN)/python scripts/audit.py

clean:  ## Remove what was installed and cached; data stays
	rm -rf $(VENV) $(AWS_VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/dependencies: $(BIN)/python locks/build.txt locks/server.txt
	$(INSTALL) --require-hashes --requirement locks/build.txt
	$(INSTALL) --require-hashes --requirement locks/server.txt
	touch $@

$(VENV)/installed: $(VENV)/dependencies pyproject.toml
	$(INSTALL) --editable '.[server]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed constraints.txt
	$(INSTALL) --require-hashes --requirement constraints.txt
	touch $@
