# `make help` lists the targets. Run make as a normal user: what needs root is started with sudo.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(PATH):/usr/sbin:/sbin

# A fixed number of digits: git's default grows with the number of objects in a clone.
VERSION  := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB   ?=
FUZZTIME ?= 1m
DURATION ?= 2m

# Every package but the end-to-end tests.
UNITS = $(shell go list ./... | grep -v '^tunnel/e2e')

# Tests create real devices. Go builds them as the user; only the test binary runs as root.
ROOT_ENV := "PATH=$(PATH)" "CI=$(CI)" "E2E_PREBUILT=$(CURDIR)/bin"
AS_ROOT  := $(if $(filter-out 0,$(shell id -u)),-exec 'sudo env $(ROOT_ENV)')

# What the tests use, as command:package; see deploy/need.sh.
NEEDS := gcc:gcc /usr/include/stdlib.h:libc6-dev \
	ip:iproute2 ping:iputils-ping ifconfig:net-tools iperf3:iperf3 nc.openbsd:netcat-openbsd \
	curl:curl nginx:nginx pebble:pebble nft:nftables haproxy:haproxy caddy:caddy squid:squid \
	tinyproxy:tinyproxy microsocks:microsocks danted:dante-server setcap:libcap2-bin \
	busybox:busybox|busybox-static \
	/usr/lib/python3/dist-packages/websockets:python3-websockets \
	dockerd:docker.io docker:docker-cli|docker.io debootstrap:debootstrap \
	docker-compose|/usr/libexec/docker/cli-plugins/docker-compose:docker-compose-v2|docker-compose \
	$(if $(wildcard /sys/kernel/security/apparmor),apparmor_parser:apparmor)

.PHONY: build demo test unit race e2e soak racers check lint audit fuzz docs bench clean help needs
.NOTPARALLEL:

# Reproducible: one commit, Go version and platform give the same bytes in any directory. GOFLAGS is
# set so that a value from the environment does not count.
build: ## Build bin/tunnel, one static binary, the same bytes in any directory
	CGO_ENABLED=0 GOFLAGS=-trimpath go build -buildvcs=false \
		-ldflags '-s -w -X main.version=$(VERSION)' -o bin/tunnel .

demo: build ## Show two hosts and one tunnel on this machine
	deploy/demo.sh

test: needs unit race e2e ## Run every test; installs missing programs with apt-get

unit:
	go test $(AS_ROOT) $(UNITS)

race:
	go test -race $(AS_ROOT) $(UNITS)

e2e: build racers needs ## Run the end-to-end tests: real devices, real programs, Docker
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 30m -v $(AS_ROOT) ./e2e/...

soak: build racers needs ## Run faults and traffic for DURATION (2m), and report what was lost
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 0 -parallel 6 -v -run '^TestSoak' \
		$(AS_ROOT) ./e2e -args -soak $(DURATION)

racers:
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/tunnel-race .
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/bridge-race ./e2e/bridge

check: lint race build ## Run the linters, the tests with the race detector, and the build

lint: ## Check format, go.mod, words and sizes (stylecheck), a 32-bit build, golangci-lint
	@unformatted=$$(gofmt -l .); [[ -z $$unformatted ]] || { gofmt -d $$unformatted; exit 1; }
	go mod tidy -diff
	go run ./stylecheck
	GOARCH=386 go build -o /dev/null . # a small board may have 32 bits
	go run $(GOLANGCI) run --allow-parallel-runners

audit: lint ## lint, go.sum and known vulnerabilities (VULNDB=DIR: a mirror of the database)
	go mod verify
	deploy/vulncheck.sh $(VULN) $(VULNDB)

fuzz: ## Run every fuzz target for FUZZTIME (1m); crashers stay in testdata/fuzz
	@grep -rHoE --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file name; do \
		name=$${name#func }; echo "== $$name, $${file%/*}"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$${file%/*}" </dev/null; \
	done

docs: ## Write REFERENCE.md's tables and the man pages from the code; a test fails if they are stale
	go test ./cli -run '^(TestReference|TestManPages)$$' -update

# For less: make bench BENCH='-only stream -rounds 1 -out /tmp/bench'
bench: ## Measure against the limit program and the peers; writes bench/RESULTS.md
	go run $(AS_ROOT) ./bench $(BENCH)

clean: ## Remove the build's output
	rm -rf bin

help: ## Show this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | sort | expand -t 10

needs:
	@deploy/need.sh $(foreach need,$(NEEDS),'$(need)')
