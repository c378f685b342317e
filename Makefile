# All targets run as root on Debian 12 or 13 with a Swift toolchain; `make help` says what they do.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dormouse
# Where SwiftPM builds. Outside of the checkout, so that a fresh clone builds only what changed.
BUILD ?= $(CACHE)/build
CONFIGURATION ?= release
# For the benchmarks: text, or json for one object as the last line.
FORMAT ?= text
# Further arguments for `swift test`, such as TESTS='--filter Lab'.
TESTS ?=

BIN := $(BUILD)/$(CONFIGURATION)
SWIFT_OPTIONS := -c $(CONFIGURATION) --scratch-path $(BUILD)
SWIFT_TEST := swift test $(SWIFT_OPTIONS) --skip-build --disable-xctest --no-parallel
# The tests start the programs that were built with them. A make that is killed takes its lab along.
LAB_SETTINGS := DORMOUSE_BIN_DIR=$(BIN) DORMOUSE_LAB_OWNER=$$PPID
LAB := $(LAB_SETTINGS) scripts/lab.sh
TEST := $(LAB_SETTINGS) scripts/recap.sh $(BUILD)/test.log scripts/lab.sh $(SWIFT_TEST)
FUZZ := BUILD=$(BUILD) scripts/fuzz.sh
# For fuzz: a target's name, and seconds.
TARGET ?=
TIME ?= 60
SOURCES := Package.swift Sources Tests

.PHONY: help setup build image demo test unit bench bench-sleep bench-density bench-sentry bench-emulated soak fuzz \
	fuzzer format lint clean

help: ## Say what the targets do
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## Install the packages that are missing (up to 3 minutes, once)
	@scripts/setup.sh

build: setup ## Build programs and tests (10 minutes the first time, then seconds)
	@echo "build: compiling into $(BUILD) (10 minutes the first time, then seconds)" >&2
	@swift build $(SWIFT_OPTIONS) --build-tests >&2

image: build ## Make the images of guest and emulated host (3 minutes, once)
	@$(BIN)/dormouse-lab image >/dev/null

demo: image ## Show a virtual machine falling asleep and waking up (2 minutes)
	@echo "demo: running in a lab of its own (about 2 minutes)" >&2
	@$(LAB) $(BIN)/dormouse-lab demo

test: image $(if $(TESTS),,fuzzer) ## Run all tests (about 17 minutes)
	@echo "test: running all tests in a lab of their own (about 17 minutes)" >&2
	@$(TEST) $(TESTS)
ifeq ($(TESTS),)
	@echo "test: fuzzing every parser for 3 seconds (half a minute)" >&2
	@FUZZ_FORGET=1 $(FUZZ) run 3
endif

unit: build ## Run the tests that need no virtual machine (1 minute)
	@echo "unit: running the tests that need no virtual machine (about 1 minute)" >&2
	@$(TEST) --skip IntegrationTests $(TESTS)

bench: bench-sleep bench-density bench-sentry bench-emulated ## Run all benchmarks

bench-sleep: image ## Measure sleeping and waking; FORMAT=json for one object as the last line (10 minutes)
	@echo "bench-sleep: at least 100 rounds in a lab of their own (about 10 minutes)" >&2
	@$(LAB) $(BIN)/dormouse-lab bench-sleep --format $(FORMAT)

bench-density: image ## Measure 64 sleeping machines and wake all at once; FORMAT=json (15 minutes, 24 GiB of disk)
	@echo "bench-density: 64 machines in a lab of their own (about 15 minutes)" >&2
	@DORMOUSE_LAB_SWAP=$${DORMOUSE_LAB_SWAP:-24G} $(LAB) $(BIN)/dormouse-lab bench-density --format $(FORMAT)

bench-sentry: image ## Measure what the sentry costs; FORMAT=json for one object as the last line (4 minutes)
	@echo "bench-sentry: in a lab of its own (about 4 minutes)" >&2
	@$(LAB) $(BIN)/dormouse-lab bench-sentry --format $(FORMAT)

bench-emulated: build ## Measure a sentry with 5,000 emulated guests; FORMAT=json as above (5 minutes)
	@echo "bench-emulated: 10,000 interfaces in a lab of their own (about 5 minutes)" >&2
	@DORMOUSE_LAB_SWAP=0 $(LAB) $(BIN)/dormouse-lab bench-emulated --format $(FORMAT)

soak: image fuzzer ## Run what is too long for the tests (2 hours)
	@echo "soak: running in labs of their own (about 2 hours)" >&2
	@$(LAB) $(BIN)/dormouse-lab soak
	@$(LAB) $(BIN)/dormouse-lab soak-snooping
	@echo "soak: 100,000 frames to a guest asleep and awake (about 12 minutes)" >&2
	@$(LAB) $(BIN)/dormouse-lab differential --frames 100000
	@echo "soak: fuzzing every parser (about 10 minutes)" >&2
	@$(FUZZ) run 100

fuzz: fuzzer ## Fuzz TARGET (all without one) for TIME seconds each; see scripts/fuzz.sh
	@$(FUZZ) run $(TIME) $(TARGET)

fuzzer: setup
	@echo "fuzzer: compiling into $(BUILD)/fuzz (5 minutes the first time, then seconds)" >&2
	@$(FUZZ) build

format: ## Format the sources in place
	@swift format --in-place --recursive --parallel $(SOURCES)

lint: ## Check the sources' format
	@swift format lint --strict --recursive --parallel $(SOURCES)

clean: ## Remove build, guest image and fuzzed inputs from the cache
	@echo "clean: removing $(BUILD), $(CACHE)/guest and $(CACHE)/fuzz" >&2
	@rm -rf $(BUILD) $(CACHE)/guest $(CACHE)/fuzz
