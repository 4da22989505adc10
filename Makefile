# The two commands of the README are `make run` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
DATA ?= ./data
STAGE ?= dev
STACK ?= image-poster-$(STAGE)
AWS_VENV := .venv-aws
# The tools of `make tools-aws` if installed, else those on PATH.
SAM ?= $(or $(wildcard $(AWS_VENV)/sam/bin/sam),sam)
CHECKOV ?= $(or $(wildcard $(AWS_VENV)/checkov/bin/checkov),checkov)
TEMPLATE ?= infra/template.yaml
# `--upgrade` locks newer releases.
UPGRADE ?=
IMAGES_RUN ?= 1000
FUZZ_SECONDS ?= 600

# Installs only the locked files, checked by their hashes, and builds them with the locked build tools.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation
# Litestar requires polyfactory (which requires Faker) to generate examples for the OpenAPI document,
# which we switch off: docs/decisions/0018.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --custom-compile-command 'make lock' \
	--no-emit-package polyfactory --no-emit-package faker
# One release of each package, for all Python versions.
ONE_PLATFORM := --no-universal --python-platform linux --python-version 3.11

.PHONY: help run web web-dev web-check browser screenshots docs tables contract collection collection-run sample aws-local package deploy test test-all check lint types documents bench bench-smoke lock audit crash power-loss walks images-run fuzz peers peers-directus storm attacks tools-debian tools-aws deploy-waf destroy check-aws rehearse scale clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: $(VENV)/installed  ## Install, and serve the local edition on PORT (8080) from DATA (./data)
	@echo 'Sample images: run "make sample" in another terminal. Stop with Ctrl-C.'
	@exec $(BIN)/image-poster serve --port $(PORT) --data-dir $(DATA)

sample: $(VENV)/installed  ## Post sample images and comments to the server on PORT
	@$(BIN)/python scripts/sample.py http://127.0.0.1:$(PORT)

# The tests start hundreds of processes: where none may keep bytecode, each compiles all of our code.
test test-all: export PYTHONDONTWRITEBYTECODE :=
# A test that hangs fails after ten minutes with the stacks of its threads, and the others go on.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal \
	-o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
test: $(VENV)/installed-dev  ## Run the fast tests, in two processes (two minutes)
	$(PYTEST) -m 'not slow' --ignore tests/lint

test-all: $(VENV)/installed-dev  ## Run the slow tests, which `make test` omits: crashes, browsers, AWS, proxies, commands
	$(PYTEST) -m slow

peers:  ## Install third-party clients and servers (with npm), for tests and benchmarks
	npm ci --prefix tests/peers --silent

peers-directus:  ## Install Directus (with npm; large, and takes minutes to compile), for `make bench ONLY=posting`
	npm ci --prefix benchmarks/peers/directus --silent

web: web/node_modules/.installed $(VENV)/installed  ## Build the gallery from web/ into the package (needs node 20); commit the built files
	mkdir -p dist && $(BIN)/image-poster openapi > dist/openapi.json
	$(BIN)/python scripts/image_types.py dist/image-types
	cp dist/image-types/image-types.ts web/src/ && cp dist/image-types/heads.json web/tests/
	cd web && npm run --silent schema -- ../dist/openapi.json --output src/schema.ts && npm run --silent build

web-dev: web/node_modules/.installed  ## Serve the gallery's source with reload, for the server on PORT (8080)
	cd web && IMAGE_POSTER_URL=http://127.0.0.1:$(PORT) npm run --silent dev

web-check: web/node_modules/.installed $(VENV)/installed  ## Check the gallery's types, tests and committed build
	mkdir -p dist && $(BIN)/image-poster openapi > dist/openapi.json
	cd web && npm run --silent schema -- ../dist/openapi.json --output ../dist/schema.ts
	@diff -q web/src/schema.ts dist/schema.ts || { echo 'the API has changed: "make web", and commit web/src/schema.ts' >&2; exit 1; }
	$(BIN)/python scripts/image_types.py dist/image-types
	@diff -q web/src/image-types.ts dist/image-types/image-types.ts && diff -q web/tests/heads.json dist/image-types/heads.json \
		|| { echo 'the types of images have changed: "make web", and commit web/src/image-types.ts and web/tests/heads.json' >&2; exit 1; }
	cd web && npm run --silent types && npm run --silent test && npm run --silent check

browser: web/node_modules/.installed $(VENV)/installed-dev  ## Test the gallery in chromium with more and larger images over worse networks (slow)
	BROWSER=1 $(BIN)/python -m pytest -q tests/browser

screenshots: $(VENV)/installed-dev  ## Take the screenshots of docs/gallery.md again; check them by eye
	PYTHONPATH=tests:infra $(BIN)/python scripts/screenshots.py docs/gallery

web/node_modules/.installed: web/package-lock.json
	npm ci --prefix web --silent
	touch $@

aws-local: $(VENV)/installed-dev  ## Serve the whole AWS edition on an emulator, on PORT (8080)
	@PYTHONPATH=infra exec $(BIN)/python -m aws_local --port $(PORT)

package: $(VENV)/installed-dev  ## Build the Lambdas' zips and lists of their contents (dist/), and print sizes and import times
	@PYTHONPATH=infra $(BIN)/python -m lambda_zips

deploy: package  ## Deploy to AWS as STACK, for STAGE (dev or prod); PARAMETERS='AlarmEmail=… …'; HOTFIX=1 in an incident (docs/aws.md)
	@$(BIN)/python infra/stacks.py $(STACK) $(STAGE)
	@command -v $(SAM) >/dev/null || { echo 'deploying needs the SAM CLI: make tools-aws' >&2; exit 1; }
	$(SAM) deploy --template-file $(TEMPLATE) --stack-name $(STACK) --resolve-s3 --no-fail-on-empty-changeset \
		--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides Stage=$(STAGE) \
		Deployment=$(if $(HOTFIX),AllAtOnce,Canary10Percent5Minutes) $(PARAMETERS)
	@$(BIN)/python infra/gallery_bucket.py $(STACK)

attacks: $(VENV)/installed-dev  ## Attack the service, alone and behind the proxies of deploy/ (or FRONTS=nginx), and measure the effect on other clients
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/attacks.py $(FRONTS)

tools-debian:  ## Install programs without which some tests are skipped (Debian, as root): browsers, proxies, systemd
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
		caddy chromium chromium-driver faketime firefox-esr libseccomp2 libvips-tools nginx-light systemd \
		webkit2gtk-driver xvfb

tools-aws: $(AWS_VENV)/installed  ## Install SAM and checkov, as locked, into .venv-aws/, for `make check-aws` and tests

$(AWS_VENV)/installed: locks/checkov.txt locks/sam.txt | $(VENV)/installed-dev
	@for tool in checkov sam; do \
		$(BIN)/python -m venv --clear --without-pip $(AWS_VENV)/$$tool && \
		$(BIN)/uv pip install --quiet --python $(AWS_VENV)/$$tool/bin/python --no-deps \
			--require-hashes --requirement locks/$$tool.txt || exit 1; \
	done
	@touch $@

deploy-waf:  ## Deploy the WAF in front of CloudFront, in us-east-1; prints WebAclArn, a parameter of `make deploy`
	@command -v $(SAM) >/dev/null || { echo 'deploying needs the SAM CLI: make tools-aws' >&2; exit 1; }
	$(SAM) deploy --template-file infra/waf.yaml --stack-name $(STACK)-waf --region us-east-1 --resolve-s3 \
		--no-fail-on-empty-changeset $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

destroy: $(VENV)/installed-dev  ## Delete STACK, of stage dev, with all posts and images; any stage if its first deployment failed
	@PYTHONPATH=infra $(BIN)/python -m destroy $(STACK)

rehearse: package tools-aws  ## Deploy both stages to an emulator by the real targets: a failed first deploy, a wrong stage, an exchanged secret, a hotfix, a rule for events
	@PYTHONPATH=infra $(BIN)/python -m aws_local.rehearsal

check-aws: $(VENV)/installed-dev  ## Check the templates with cfn-lint, and with SAM and checkov if installed
	$(BIN)/cfn-lint infra/template.yaml infra/waf.yaml
	@command -v $(SAM) >/dev/null && for one in template waf; do $(SAM) validate --lint --template infra/$$one.yaml || exit 1; done \
		|| { ! command -v $(SAM) >/dev/null && echo 'no SAM CLI here: make tools-aws'; }
	@command -v $(CHECKOV) >/dev/null && BC_SKIP_MAPPING=TRUE $(CHECKOV) --config-file infra/checkov.yaml \
		|| { ! command -v $(CHECKOV) >/dev/null && echo 'no checkov here: make tools-aws'; }

storm: $(VENV)/installed-dev  ## Post ten 10 MB photographs through a bad network, also killed and repeated
	STORM=1 $(BIN)/python -m pytest -v -k ten_photographs tests/e2e/test_bad_networks.py

crash: $(VENV)/installed-dev  ## Kill the server 200 times under load and check that it lost no acknowledged write
	CRASH_ROUNDS=200 $(BIN)/python -m pytest -q tests/e2e/test_crash.py tests/e2e/test_crash_moderation.py

power-loss: $(VENV)/installed-dev  ## Simulate a power cut at POWER_LOSS_PREFIXES (1000) moments of a recorded run, and check the recovery
	POWER_LOSS_PREFIXES=$${POWER_LOSS_PREFIXES:-1000} $(BIN)/python -m pytest -q tests/e2e/test_power_loss.py

walks: $(VENV)/installed-dev  ## Page through the feed 1,000 times beside 64 writers (24 beside 8 on the emulator): 0 repeated, 0 missed
	WALKS=1000 WRITERS=64 $(BIN)/python -m pytest -q -s -n 0 -k 'beside_writers and local' tests/contract/http/test_walks.py
	WALKS=24 WRITERS=8 $(BIN)/python -m pytest -q -s -n 0 -k 'beside_writers and aws' tests/contract/http/test_walks.py

images-run: $(VENV)/installed-dev  ## Post IMAGES_RUN (1000) generated images, valid and damaged, while other clients wait for theirs
	IMAGES_RUN=$(IMAGES_RUN) $(BIN)/python -m pytest -q -s tests/e2e/test_generated_images.py

fuzz: $(VENV)/installed-dev  ## Fuzz the parsers of headers, EXIF and profiles for FUZZ_SECONDS (600); new inputs go to .fuzz/
	$(INSTALL) --require-hashes --requirement locks/fuzz.txt
	@mkdir -p .fuzz
	PYTHONPATH=tests $(BIN)/python tests/fuzz/run.py .fuzz tests/fuzz/corpus \
		-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 -artifact_prefix=.fuzz/

check: lint types documents  ## Check style, types, import directions, and the rules for docs and names

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

contract: $(VENV)/installed-dev  ## Record the API contract, which tests compare with the code (tests/lint/contract.json)
	@$(BIN)/python scripts/recorded_contract.py

collection: $(VENV)/installed-dev  ## Write docs/collection/ (an .http file, an Insomnia collection) from the OpenAPI document
	@$(BIN)/python scripts/collection.py

collection-run: $(VENV)/installed  ## Send the .http file's requests to the server on PORT, with httpYac (make peers)
	@$(BIN)/python scripts/collection_run.py http://127.0.0.1:$(PORT)

bench: $(VENV)/installed-dev  ## Run all benchmarks (or ONLY=uploads) and print the table of ratios
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/run.py $(ONLY)

bench-smoke: $(VENV)/installed-dev  ## Check in a minute that all benchmarks (or ONLY=uploads) run, without judging their results
	PYTHONPATH=tests:infra $(BIN)/python benchmarks/run.py --smoke $(ONLY)

scale: $(VENV)/installed-dev  ## Count the AWS edition's DynamoDB units, model 100 to 10,000 requests/s, and write docs/aws-costs.md
	@PYTHONPATH=tests:infra:benchmarks $(BIN)/python benchmarks/scale.py

lock: $(VENV)/installed-dev  ## Lock the dependencies of pyproject.toml, with hashes (UPGRADE=--upgrade: newer releases)
	$(COMPILE) $(UPGRADE) pyproject.toml --extra server --extra aws --extra otel --group build --group dev --group docs --group bench -o constraints.txt
	$(COMPILE) --constraint constraints.txt pyproject.toml --extra server -o locks/server.txt
	$(COMPILE) --constraint constraints.txt --group build -o locks/build.txt
	$(COMPILE) --group fuzz -o locks/fuzz.txt
	$(COMPILE) $(ONE_PLATFORM) --group checkov -o locks/checkov.txt
	$(COMPILE) $(ONE_PLATFORM) --group sam -o locks/sam.txt

audit: $(VENV)/installed-dev  ## Look for known vulnerabilities in the locked dependencies
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
