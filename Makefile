# `make help` lists the targets. Run make as a normal user: what needs root is started with sudo.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(PATH):/usr/sbin:/sbin

# A fixed number of digits: git's default grows with the number of objects in a clone.
VERSION  := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
NFPM     := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONE  := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
VULNDB   ?=
FUZZTIME ?= 1m
DURATION ?= 2m
OUT      := bin/tunnel

# Of `make packages`: where to, for which architectures, in which formats, with SBOMs or (empty)
# without, and an SSH key to sign with, or its public half if an agent has it.
DIST     := dist
ARCH     := amd64 arm64 armhf 386 riscv64 mips mipsle
FORMAT   := deb rpm apk
SBOM     := yes
SIGN_KEY ?=

# How many packages, or end-to-end tests, run at once: more than there are processors, because most
# of them wait for commands and for timers.
PARALLEL ?= 4
# The end-to-end tests to run.
RUN      ?= .

# Every package but the end-to-end tests.
UNITS = $(shell go list ./... | grep -v '^tunnel/e2e')

# Tests create real devices. Go builds them as the user; only the test binary runs as root.
ROOT_ENV = "PATH=$(PATH)" "CI=$(CI)" "E2E_PREBUILT=$(CURDIR)/bin" "GORACE=$(GORACE)"
AS_ROOT  = $(if $(filter-out 0,$(shell id -u)),-exec 'sudo env $(ROOT_ENV)')

# What the tests use, as command:package; see deploy/need.sh.
NEEDS := gcc:gcc /usr/include/stdlib.h:libc6-dev \
	ip:iproute2 ping:iputils-ping ifconfig:net-tools iperf3:iperf3 nc.openbsd:netcat-openbsd \
	curl:curl nginx:nginx pebble:pebble nft:nftables haproxy:haproxy caddy:caddy squid:squid \
	tinyproxy:tinyproxy microsocks:microsocks danted:dante-server setcap:libcap2-bin \
	busybox:busybox|busybox-static dbus-daemon:dbus-daemon|dbus \
	prometheus:prometheus promtool:prometheus chromium:chromium \
	/usr/lib/python3/dist-packages/websockets:python3-websockets \
	dockerd:docker.io docker:docker-cli|docker.io debootstrap:debootstrap \
	lintian:lintian logrotate:logrotate ssh-keygen:openssh-client tcpdump:tcpdump \
	docker-compose|/usr/libexec/docker/cli-plugins/docker-compose:docker-compose-v2|docker-compose \
	$(if $(wildcard /sys/kernel/security/apparmor),apparmor_parser:apparmor)

# What the tests use and a machine must not have installed, see deploy/unpack.sh.
UNPACKED := 'systemd-resolved|systemd' 'libsystemd-shared|systemd' resolvconf openresolv udhcpc

.PHONY: build packages demo test unit race norace manifests e2e soak racers check lint audit fuzz
.PHONY: docs bench clean help needs
.NOTPARALLEL:

# Reproducible: one commit, Go version and platform give the same bytes in any directory. GOFLAGS is
# set so that a value from the environment does not count.
build: ## Build bin/tunnel, one static binary, the same bytes in any directory
	CGO_ENABLED=0 GOFLAGS=-trimpath go build -buildvcs=false \
		-ldflags '-s -w -X main.version=$(VERSION)' -o '$(OUT)' .

packages: ## Build .deb, .rpm and .apk, programs for mips routers, checksums and SBOMs into dist
	NFPM=$(NFPM) CYCLONE=$(if $(SBOM),$(CYCLONE)) FORMAT='$(FORMAT)' SIGN_KEY='$(SIGN_KEY)' \
		deploy/package.sh '$(VERSION)' '$(DIST)' $(ARCH)

demo: build ## Show two hosts and one tunnel on this machine
	deploy/demo.sh

test: needs race norace manifests e2e ## Run the tests; installs missing programs with apt-get

unit: ## Run the unit tests without the race detector
	go test -timeout 20m -p $(PARALLEL) $(AS_ROOT) $(UNITS)

# The detector has each program sleep for a second at its end, test binaries and victims of theirs
# alike.
race: export GORACE := atexit_sleep_ms=0
race: ## Run the unit tests with the race detector
	go test -race -timeout 20m -p $(PARALLEL) $(AS_ROOT) $(UNITS)

norace: ## Run the unit tests that `make race` has not, by their build tag
	@files=($$(grep -rlE --include='*_test.go' '^//go:build !race$$' .)); \
	names=$$(sed -nE 's/^func (Test\w+)\(.*/\1/p' "$${files[@]}" | paste -sd'|'); [[ $$names ]]; \
	go test $(AS_ROOT) -run "^($$names)\$$" $$(dirname "$${files[@]}" | sort -u)

# A module of its own: neither the program nor its go.mod depends on the types of Kubernetes.
manifests: ## Hold the examples in deploy/kubernetes to the types of Kubernetes
	cd deploy/kubernetes && go mod tidy -diff && go vet ./... && go test ./...

e2e: build racers needs ## Run the end-to-end tests: real devices, real programs, Docker
	go test -count=1 $(AS_ROOT) $$(go list ./e2e/... | grep -v '^tunnel/e2e$$')
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 50m -parallel $(PARALLEL) -v \
		-run '$(RUN)' $(AS_ROOT) ./e2e

# DURATION is 2m. Without RUN, also the unit tests as they are without the race detector.
soak: needs build racers $(if $(filter .,$(RUN)),unit) ## Run each case, and faults for DURATION
	E2E_PREBUILT=$(CURDIR)/bin go test -count=1 -timeout 0 -parallel $(PARALLEL) -v -run '$(RUN)' \
		$(AS_ROOT) ./e2e -args -all -soak $(DURATION)

racers:
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/tunnel-race .
	CGO_ENABLED=1 go build -race -trimpath -buildvcs=false -o bin/bridge-race ./e2e/bridge

check: lint race norace build ## Run the linters, the unit tests, and the build

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
	rm -rf bin dist

help: ## Show this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | sort | expand -t 10

needs:
	@deploy/need.sh $(foreach need,$(NEEDS),'$(need)')
	@deploy/unpack.sh bin/needs $(UNPACKED)
