# Everything a developer does has a target here; "make" lists them.

export GO ?= go
BIN := $(CURDIR)/bin
CLIENT := conformance/node_modules/@microsoft/signalr/dist/browser/signalr.min.js
ORACLE ?= ../shared/oracle
REFERENCE ?= ../shared/reference
SIGNALR ?= ../SignalR
TROUPE_NODES ?= 5s,20s,60s,75s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(CLIENT) ## start the demo on http://127.0.0.1:8080
	@echo "Building the demo …"
	@$(GO) build -o $(BIN)/demo ./cmd/demo && exec $(BIN)/demo -client $(CLIENT)

.PHONY: demo-cluster
demo-cluster: $(CLIENT) ## start three nodes of the demo, behind a proxy on http://127.0.0.1:8080
	@echo "Building the demo …"
	@$(GO) build -o $(BIN)/demo ./cmd/demo && exec $(BIN)/demo -client $(CLIENT) -nodes 3

.PHONY: test
test: ## run all tests that this machine can run; a summary says at the end what ran and what was left out
	@node conformance/run.mjs go clients

.PHONY: test-go
test-go: ## run the tests in Go, with the race detector where there is a C compiler
	@node conformance/run.mjs go

.PHONY: test-clients
test-clients: ## run the official clients against the servers: in Node, in a browser, through proxies, and on the JVM
	@node conformance/run.mjs clients

.PHONY: conformance-reference
conformance-reference: ## run the same suites against the original server, to prove the suites (REFERENCE=...)
	TROUPE_REFERENCE=$(abspath $(REFERENCE))/run.sh node conformance/run.mjs clients

.PHONY: differential
differential: $(CLIENT) ## play random scenarios on the server and the original side by side, and compare (REFERENCE=... SEED=... SCENARIOS=...)
	node conformance/differential/differential.mjs $(REFERENCE)/run.sh $(if $(SEED),--seed $(SEED)) --scenarios $(or $(SCENARIOS),200)

.PHONY: qunit
qunit: $(CLIENT) ## run the QUnit suites of the client of SignalR 2, from a checkout of SignalR/SignalR (SIGNALR=...)
	node conformance/qunit/qunit.mjs $(SIGNALR)

.PHONY: oracle
oracle: ## compare the server with the recorded answers of the original, where they are (ORACLE=...)
	node conformance/oracle.mjs $(ORACLE)

.PHONY: bench
bench: ## measure what matters most, beside baselines and, where it is, the original server, in 15 minutes, and write docs/performance/results.* (REFERENCE=...)
	$(GO) run ./cmd/hubbench -core -reference $(REFERENCE)/run.sh -out docs/performance

.PHONY: bench-full
bench-full: ## the same with everything: SignalR 2, several nodes, clients that come and go for ten minutes; five rounds, an hour
	$(GO) run ./cmd/hubbench -rounds 5 -reference $(REFERENCE)/run.sh -out docs/performance

.PHONY: bench-growth
bench-growth: ## show how the cost of operations grows with their input, as a table (a few minutes)
	$(GO) test -run '^$$' -bench Growth -benchtime 100ms ./actors/... ./hubsys/presence | $(GO) run ./internal/growthtable

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (default 1m)
	@for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),1m) -fuzzminimizetime 1s $$package || exit 1; \
	  done; \
	done

.PHONY: chaos
chaos: ## run the chaos test for 3 minutes over 2,000 connections (TROUPE_CHAOS_SEED=...)
	TROUPE_CHAOS=$(or $(TROUPE_CHAOS),3m) TROUPE_CHAOS_CLIENTS=$(or $(TROUPE_CHAOS_CLIENTS),2000) $(GO) test -count 1 -timeout 30m -run '^TestChaos$$' -v ./conformance/chaos

.PHONY: nodes
nodes: ## kill, stop, cut off and restart nodes of clusters, for up to 75 s and under 3,000 clients
	TROUPE_NODES=$(TROUPE_NODES) TROUPE_NODES_CLIENTS=$(or $(TROUPE_NODES_CLIENTS),3000) $(GO) test -count 1 -timeout 60m -v ./conformance/nodes

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/buf ## run the linters, and check that generated code is current
	$(BIN)/golangci-lint run ./...
	cd conformance/middleware && $(BIN)/golangci-lint run ./...
	$(BIN)/buf lint
	rm -rf $(BIN)/generated && PATH="$(BIN):$$PATH" $(BIN)/buf generate -o $(BIN)/generated && diff -r -x '*.proto' -x hubproto -x classic proto $(BIN)/generated/proto

.PHONY: generate
generate: $(BIN)/buf ## generate the Go code of the protobuf files
	PATH="$(BIN):$$PATH" $(BIN)/buf generate

.PHONY: vulncheck
vulncheck: $(BIN)/govulncheck ## look for known vulnerabilities of the dependencies that are called
	cd tools && $(GO) build -o $(BIN)/vulncheck ./vulncheck
	$(BIN)/vulncheck $(BIN)/govulncheck

# The tools are a module of their own, so that their dependencies are not ours.
$(BIN)/golangci-lint $(BIN)/buf $(BIN)/govulncheck: tools/go.mod
	cd tools && $(GO) build -o $(BIN)/ tool
	touch $(BIN)/golangci-lint $(BIN)/buf $(BIN)/govulncheck

$(CLIENT): conformance/package-lock.json
	@echo "Fetching the official clients from npm …"
	@npm ci --prefix conformance --ignore-scripts --no-audit --no-fund >/dev/null
	@touch $@
