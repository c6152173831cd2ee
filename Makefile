# Every rule that runs something sources deploy/env.sh, so nothing but a POSIX shell, npm and git is expected of the
# machine; a Node that is too old is left alone and another one used. Whatever writes into the checkout runs as its owner.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

SEEDS ?= 500
export ROLE AGENT AGENT_APART PREFIX DESTDIR ETC STATE UNITS BIN PURGE IMAGE BASE NODE
AS_OWNER := ./deploy/as-owner.sh
IN_ENV := $(AS_OWNER) sh -c '. ./deploy/env.sh && exec "$$@"' sh

# Folders are listed too: a file that was removed shows only in the time of its folder.
SOURCES := $(shell find services -type d -o -name '*.ts' -o -name '*.sql')

help: ## list what can be made
	@printf 'make <target>\n'
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

##@ Use it from this checkout

setup: node_modules/.stamp ## fetch Node 24 if this machine has none, install the packages

node_modules/.stamp: package.json package-lock.json .npmrc deploy/node.sh
	@$(AS_OWNER) ./deploy/setup.sh

# Set-up went without a compiler, and now there is one.
ifneq ($(shell ./deploy/compile.sh --due),)
.PHONY: node_modules/.stamp
endif

build: dist/.stamp ## bundle the programs into dist/

dist/.stamp: node_modules/.stamp package.json deploy/bundle.ts deploy/bundling.ts deploy/lock.ts $(SOURCES)
	@$(IN_ENV) node deploy/bundle.ts

run: build ## bring up the nine-agent fleet of the protocol on this machine
	@$(IN_ENV) dist/s2.js up deploy/fleet/nine.json --demo

clean: ## remove what was built
	rm -rf dist coverage

distclean: clean ## remove what was installed too
	rm -rf node_modules .toolchain

##@ Install it

install: build ## as root: install under PREFIX for ROLE=orchestrator|worker|both, or upgrade in place
	@. ./deploy/env.sh && ./deploy/install.sh install

install-user: build ## without root: the same for yourself alone (systemd --user)
	@$(IN_ENV) ./deploy/install.sh install-user

uninstall: ## as root: remove the programs; PURGE=1 settings and data too
	@./deploy/install.sh uninstall

uninstall-user: ## remove what install-user installed; PURGE=1 settings and data too
	@$(AS_OWNER) ./deploy/install.sh uninstall-user

image: $(if $(BASE),build) ## make the container image s2 from the sources; BASE=image puts what is built here onto that one
	@./docker/image.sh

##@ Develop it

test: setup ## run the tests; FILES='test/plan.test.ts …' runs a few
	@$(IN_ENV) node deploy/test.ts $(FILES)

check: setup ## types, lint and format, dead code, the plan of the house, the documents
	@$(IN_ENV) ./deploy/steps.sh 'tsc -p .' 'biome ci --error-on-warnings' 'knip' 'node --test test/plan.test.ts' 'node --test test/docs.test.ts'

check-docs: setup ## the documents alone: links, and the paths, commands and settings that they name
	@$(IN_ENV) node --test test/docs.test.ts

format: setup ## put the code into its agreed form
	@$(IN_ENV) biome check --write

docs: setup ## write what the documents have from the code: settings, protocol, rooms
	@$(IN_ENV) node test/docs/main.ts

hooks: ## let git check what each commit changes, before it is made
	@$(AS_OWNER) ./deploy/hooks.sh

lock: ## rewrite package-lock.json after a change of package.json
	@$(AS_OWNER) sh -c '. ./deploy/env.sh && npm install --package-lock-only && node deploy/fix-lock.ts'

##@ Prove it

simulate: setup ## run the fleet in simulated time; SEEDS=n fleets, or SEED=n one of them, told in full
	@$(IN_ENV) node test/simulation/main.ts $(if $(SEED),--seed $(SEED) --verbose,--seeds $(SEEDS))

rehearse: build ## break a real fleet on purpose and watch it recover; ONLY=day, shift or night: one of the stories
	@$(IN_ENV) node test/rehearse/main.ts $(ONLY)

kills: build ## kill every program of a real fleet ROUNDS times at instants of chance, and look for what was acknowledged
	@$(IN_ENV) node test/kills/main.ts --rounds $(or $(ROUNDS),1000) $(if $(SEED),--seed $(SEED))

soak: build ## let a fleet work for HOURS hours while faults befall it, and see that what lasts stays flat
	@$(IN_ENV) node test/soak/main.ts --hours $(or $(HOURS),1) $(if $(SEED),--seed $(SEED))

mutate: build ## make small mistakes in what must not be wrong, and see that tests fail; ONLY=group, SHARE=0.1 of them
	@$(IN_ENV) node test/mutate/main.ts $(if $(ONLY),--only $(ONLY)) --share $(or $(SHARE),1) $(if $(SEED),--seed $(SEED))

test-agents: build ## play with the real Claude Code and Codex, which it installs, and a made-up model; FILES='test/agents/… …' runs a few
	@$(IN_ENV) ./test/agents/main.sh $(FILES)

test-system: build ## as root: real systemd, docker and machines apart, broken on purpose; ONLY="systemd …" runs some
	@./test/system/main.sh $(ONLY)

powerloss: setup ## take the power away at each moment of what programs write; N=states of the disk
	@$(IN_ENV) node test/powerloss/main.ts --states $(or $(N),100000)

bench: build ## measure; BENCH=--help says what can be asked for
	@$(IN_ENV) node test/bench/main.ts $(BENCH)

.PHONY: help setup build run test check simulate rehearse powerloss kills soak mutate test-agents test-system image install install-user uninstall uninstall-user bench format docs hooks check-docs lock clean distclean
