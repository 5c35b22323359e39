# `make help` lists the commands. Nothing here needs root: what does takes it through sudo.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(PATH):/usr/sbin:/sbin

# As many digits of a commit as any clone has: git's own choice grows with the number of objects there.
VERSION  := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB   ?=
FUZZTIME ?= 1m
DURATION ?= 2m

# Every package but the end-to-end tests.
UNITS = $(shell go list ./... | grep -v '^tunnel/e2e')

# Tests make real devices. Go builds them as the user; only the finished test is started as root.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),-exec 'sudo env "PATH=$(PATH)" "CI=$(CI)" "E2E_PREBUILT=$(CURDIR)/bin"')

# What the tests use, as command:package, see deploy/need.sh.
NEEDS := gcc:gcc /usr/include/stdlib.h:libc6-dev \
	ip:iproute2 ping:iputils-ping ifconfig:net-tools iperf3:iperf3 nc.openbsd:netcat-openbsd curl:curl nginx:nginx pebble:pebble \
	nft:nftables haproxy:haproxy caddy:caddy squid:squid tinyproxy:tinyproxy microsocks:microsocks danted:dante-server \
	setcap:libcap2-bin busybox:busybox|busybox-static /usr/lib/python3/dist-packages/websockets:python3-websockets \
	dockerd:docker.io docker:docker-cli|docker.io debootstrap:debootstrap \
	docker-compose|/usr/libexec/docker/cli-plugins/docker-compose:docker-compose-v2|docker-compose \
	$(if $(wildcard /sys/kernel/security/apparmor),apparmor_parser:apparmor)

.PHONY: build demo test unit race e2e soak racers check lint audit fuzz docs bench clean help needs
.NOTPARALLEL:

# The same commit, Go and platform make the same bytes, wherever the directory is: GOFLAGS is set so that one from the
# environment does not count.
build: ## Build bin/tunnel, one static binary, the same bytes in any directory
	CGO_ENABLED=0 GOFLAGS=-trimpath go build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tunnel .

demo: build ## Two hosts, one tunnel, on this machine: watch it work
	deploy/demo.sh

test: needs unit race e2e ## Run every test; installs what is missing with apt-get

unit:
	go test $(AS_ROOT) $(UNITS)

race:
	go test -race $(AS_ROOT) $(UNITS)

e2e: build racers needs ## Run the end-to-end tests: real devices, real programs, Docker
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 30m -v $(AS_ROOT) ./e2e/...

soak: build racers needs ## Run faults and traffic for DURATION (2m), and say what was tried and what was lost
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 0 -parallel 6 -v -run '^TestSoak' $(AS_ROOT) ./e2e -args -soak $(DURATION)

racers:
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/tunnel-race .
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/bridge-race ./e2e/bridge

check: lint race build ## Check format, go.mod, linters, races and the build

lint:
	@unformatted=$$(gofmt -l .); [[ -z $$unformatted ]] || { gofmt -d $$unformatted; exit 1; }
	go mod tidy -diff
	GOARCH=386 go build -o /dev/null . # a small board may have 32 bits
	go run $(GOLANGCI) run

audit: lint ## Check modules against go.sum, the linters, and for known vulnerabilities (VULNDB=DIR: a mirror of their database)
	go mod verify
	deploy/vulncheck.sh $(VULN) $(VULNDB)

fuzz: ## Run every fuzz target for FUZZTIME (1m); crashers stay in testdata/fuzz
	@grep -rHoE --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file name; do \
		name=$${name#func }; echo "== $$name, $${file%/*}"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$${file%/*}" </dev/null; \
	done

docs: ## Write the tables of docs/REFERENCE.md from those of the program; a test fails when they are stale
	go test ./cli -run '^TestReference$$' -update

bench: ## Measure against the limit and the peers; writes bench/RESULTS.md (BENCH='-only stream -rounds 1 -out /tmp/bench' for less)
	go run $(AS_ROOT) ./bench $(BENCH)

clean: ## Remove what the build made
	rm -rf bin

help: ## Show this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | sort | expand -t 10

needs:
	@deploy/need.sh $(foreach need,$(NEEDS),'$(need)')
