# Every recipe is one call: the logic is in scripts/ (host) and app/ (containers).
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

.PHONY: handover
handover: ## let another Redis node lead, without losing an acknowledged write (TO=redis-2)
	@$(STACK) handover $(if $(TO),--to $(TO))

.PHONY: restart
restart: ## make Redis and Sentinel nodes anew one by one, without an error or a lost write (SERVICE="redis-2 web")
	@$(STACK) restart $(SERVICE)

.PHONY: images
images: ## pull or build every image (IMAGES=auto|pull|build)
	@$(STACK) images

.PHONY: help
help: ## print this list
	@awk 'BEGIN{FS=":.*## "} /^##@ /{printf "\n%s\n",substr($$0,5)} /^[a-zA-Z_\/-]+:.*## /{printf "  %-17s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

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
drill: ## break the running stack and judge it (NAME=worker-kills|… as in README; JOBS RATE FAULT SEED KILLS DURATION ROUNDS)
	@python3 -m scripts.drills $(NAME)

.PHONY: failover
failover: ## break Redis under load, show the timeline, judge it (FAULT=kill|freeze|crash|stop|… RATE=100 SEED= REPORT=file.json TIMES=print)
	@python3 -m scripts.failover

.PHONY: failover-series
failover-series: ## many runs of failover as one table, goes on where it was cut short (FAULT=kill,freeze RUNS=10 RATE=100 SEED=1; RUNS=0: table alone)
	@python3 -m scripts.failover.series

.PHONY: failover-soak
failover-soak: ## failover after failover under load: nothing lost, wedged or leaked (ROUNDS=200 RATE=50 SEED= EVERY=10; RESUME=1 goes on)
	@python3 -m scripts.failover.soak

.PHONY: model
model: ## explore every order of steps and faults; what is broken on purpose must be caught (ONLY=no-fence tells a story whole)
	@ONLY=$(ONLY) python3 -m scripts.model

.PHONY: mutants
mutants: ## the application with one thing broken, again and again: each must be caught (ONLY="no-fence group-at-end" RUNS=3)
	@$(STACK) mutants $(if $(RUNS),--runs $(RUNS)) $(ONLY)

.PHONY: history
history: ## judge what a stack with HOLDFAST_HISTORY=1 wrote down since it started (CLEAR=1 begins anew)
	@$(STACK) history $(if $(CLEAR),--clear)

.PHONY: failover-compare
failover-compare: ## the same fault and load against stock Celery, default and advised settings, beside ours (FAULT=kill|freeze RATE=100)
	@python3 -m scripts.compare

.PHONY: others
others: ## other people's systems and ours under the same load and faults, counted by effects (RUNS=1 SEED= ONLY=dramatiq,… FAULT=redis-flush,…)
	@python3 -m scripts.others

.PHONY: chaos
chaos: ## faults drawn from a seed, on a stack of its own, under load, judged (SEED= DURATION=26 RATE=80 MODE= TOPOLOGY= PLAN=file TIMES=print | RUNS=100 RESUME=1 RESULTS=file)
	@python3 -m scripts.chaos

.PHONY: chaos-shrink
chaos-shrink: ## the smallest plan of faults that still fails (SEED=n or PLAN=file)
	@python3 -m scripts.chaos shrink

.PHONY: chaos-down
chaos-down: ## remove the stack that chaos keeps between runs, data included
	@python3 -m scripts.chaos down

.PHONY: bench
bench: ## how fast, beside bare Celery and a bare view, with the spread (ROUNDS=5 ONLY=queue,submit,accept; also growth, watcher, and stack: the running one)
	@ROUNDS=$(ROUNDS) ONLY=$(ONLY) python3 -m scripts.bench

##@ Check
.PHONY: preflight
preflight: ## can this host run the stack? every problem with the command to run next
	@$(STACK) preflight

.PHONY: lint
lint: ## ruff, mypy, import order, shellcheck, promtool, compose files
	@$(STACK) lint

.PHONY: verify
verify: ## lint, unit and contract tests; no stack
	@$(STACK) test --quick

.PHONY: verify-long
verify-long: ## the long proof, hours: model, mutants, 100 runs of chaos, failovers; says what was cut short (ONLY=model CHAOS_RUNS=20)
	@python3 -m scripts.proof

.PHONY: test
test: ## lint and every test, on a stack of its own beside a running one
	@$(STACK) test

.PHONY: api-check
api-check: ## schemathesis against the API's own document, a key of each scope (SEED=1)
	@$(STACK) api-check $(if $(SEED),--seed $(SEED))

.PHONY: traps
traps: ## eighteen ways to lose work in a Redis stream: the bridge, a naive loop, FastStream (ONLY="trap_04 and bridge")
	@$(STACK) traps $(if $(ONLY),-k "$(ONLY)")

.PHONY: verify-data
verify-data: ## what must never be true of the running stack's rows; not 0 when something is (JOB=id shows one job's row and timeline)
	@$(STACK) verify-data $(if $(JOB),--job $(JOB))

.PHONY: footprint
footprint: ## CPU and memory per service of the running stack (DURATION=300 seconds)
	@$(STACK) footprint --duration $(or $(DURATION),300)
