# Every recipe is one call: the logic is in scripts/stack (host) and app/ (containers).
.DEFAULT_GOAL := help
export MODE TOPOLOGY IMAGES

STACK := python3 -m scripts.stack

##@ Run
.PHONY: up
up: ## start everything and send one real job through it (MODE=celery|stream TOPOLOGY=sentinel|standalone IMAGES=auto|pull|build)
	@$(STACK) up

.PHONY: down
down: ## stop and remove containers and networks; the data stays (DATA=delete removes it too)
	@$(STACK) down $(if $(filter delete,$(DATA)),--volumes)

.PHONY: mode
mode: ## say how the stack runs, or switch it without a rebuild (MODE=celery|stream)
	@$(STACK) mode

.PHONY: ps
ps: ## list the services and their health
	@$(STACK) ps

.PHONY: logs
logs: ## follow logs (SERVICE=web)
	@$(STACK) logs $(SERVICE)

.PHONY: compose
compose: ## any Compose command on the stack that runs (DO="restart sweeper")
	@$(STACK) compose $(DO)

.PHONY: images
images: ## pull or build every image (IMAGES=auto|pull|build)
	@$(STACK) images

.PHONY: help
help: ## print this list
	@awk 'BEGIN{FS=":.*## "} /^##@ /{printf "\n%s\n",substr($$0,5)} /^[a-zA-Z_\/-]+:.*## /{printf "  %-11s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

##@ Use
.PHONY: smoke
smoke: ## one job per pool through the running stack
	@$(STACK) smoke

.PHONY: ndvi
ndvi: ## vegetation index of a GeoTIFF (FILE=scene.tif RED=1 NIR=4)
	@$(STACK) ndvi $(FILE) --red $(RED) --nir $(NIR)

.PHONY: dlq
dlq: ## list dead letters (FILTER="kind=probe.fast reason=permanent pool=fast since=… until=… replayed=false")
	@$(STACK) dlq $(FILTER)

.PHONY: replay
replay: ## run dead letters again (ID=… | FILTER="reason=permanent" | FILTER=all, RATE=20 per second, DRY_RUN=1)
	@$(STACK) replay $(if $(ID),--id $(ID)) $(if $(RATE),--rate $(RATE)) $(if $(DRY_RUN),--dry-run) $(FILTER)

##@ Prove
.PHONY: drill
drill: ## break the running stack and judge it (NAME=worker-kills|… as in README; JOBS RATE FAULT SEED KILLS DURATION)
	@python3 -m scripts.drills $(NAME)

.PHONY: bench
bench: ## how fast, beside bare Celery and a bare view, with the spread (ROUNDS=5 ONLY=queue,accept,growth,stack)
	@ROUNDS=$(ROUNDS) ONLY=$(ONLY) python3 -m scripts.bench

##@ Check
.PHONY: preflight
preflight: ## can this host run the stack? every problem with the command to run next
	@$(STACK) preflight

.PHONY: lint
lint: ## ruff, mypy, import order, shellcheck, promtool, compose files
	@$(STACK) lint

.PHONY: verify
verify: ## lint and unit tests, no servers: a minute
	@$(STACK) test --quick

.PHONY: test
test: ## lint and every test, on a stack of its own beside a running one
	@$(STACK) test

.PHONY: api-check
api-check: ## schemathesis against the API's own document, a key of each scope (SEED=1)
	@$(STACK) api-check $(if $(SEED),--seed $(SEED))

.PHONY: traps
traps: ## eighteen ways to lose work in a Redis stream: the bridge, a naive loop, FastStream (ONLY="trap_04 and bridge")
	@$(STACK) traps $(if $(ONLY),-k "$(ONLY)")

.PHONY: footprint
footprint: ## CPU and memory per service of the running stack (DURATION=300 seconds)
	@$(STACK) footprint --duration $(or $(DURATION),300)
