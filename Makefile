# The only door: `make demo` and `make test` do all their own set-up on a fresh Debian machine
# with a Swift toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

BINDIR ?= /opt/cni/bin
SBINDIR ?= /usr/local/sbin
DESTDIR ?=

BUILD := $(CURDIR)/.build
CNI := $(BUILD)/cni
LINK := $(BUILD)/link
PLUGINS := bandwidth bridge dummy firewall host-device host-local ipvlan loopback macvlan portmap ptp sbr static tap tuning vlan vrf

BUILD_PACKAGES := libmnl-dev libnftnl-dev libjansson-dev libmd-dev libsystemd-dev pkg-config
TEST_PACKAGES := curl gcc libc6-dev iproute2 iptables iputils-ping nftables jq procps python3 util-linux \
    dbus-daemon gir1.2-glib-2.0 python3-dbus python3-firewall python3-gi python3-nftables dnsmasq-base
BENCH_PACKAGES := gcc iproute2 iptables jq python3 util-linux
GUEST_PACKAGES := qemu-system-x86 linux-image-amd64 busybox-static cpio kmod
INTERFERE := $(BUILD)/interfere
PACKAGE_PACKAGES := dpkg-dev xz-utils
# The version of the package and of the archive.
VERSION ?= 0.1.0
DIST := $(BUILD)/dist

# The suites that only run whole where the kernel has every kind of link, and network cards: a regular
# expression of their names.
SUITES := ^(Dummy|VLAN|IPVLAN|VRF|BridgeVLAN|HostDeviceCard|TapContext|DocumentationExample|InterfacePlugin|ChainedPlugin|SCTP|ContainerEnd|CnictlRepair)Tests
# Those of them that fit into every change's run: a suite for each kind of link.
SMOKE_SUITES := ^(Dummy|VLAN|IPVLAN|VRF)Tests

# The suites that measure traffic or time, which have the machine to themselves, when all others are done.
MEASURING := ContainerEnd|Escape|Fallback|ManyContainers|Neighbour|Process|RoutedShaping|Shaping|Sharing|SteeringWay|Tenant
MEASURING_SUITES := 'IntegrationTests\.($(MEASURING))Tests/'

# The parts of `make torture`, each a suite of integration/torture; each has a target of its own: torture-deaths, …
TORTURE_PARTS := deaths errors interruptions disks races security

.PHONY: build demo test unit-test root-test torture torture-part replay fuzz guest-test guest-smoke guest-test-all guest-table runtime-test bench bench-shaping bench-plugins \
    $(addprefix torture-,$(TORTURE_PARTS)) lint format man completions api-docs install deb dist reproducible clean setup setup-test

build: setup release-build ## A release build: a ready CNI bin directory, .build/cni, and .build/cnictl

demo: build setup-test ## Two containers on a bridge, from nothing and back
	bash integration/demo.sh $(CNI)

test: build setup-test $(INTERFERE) ## Unit tests, and as root the integration tests
	CNI_BIN=$(CNI) swift test --explicit-target-dependency-import-check error --skip $(MEASURING_SUITES)
	CNI_BIN=$(CNI) swift test --skip-build --no-parallel --filter $(MEASURING_SUITES)
	$(MAKE) --no-print-directory replay

unit-test: setup ## The tests that need no root
	swift test --skip IntegrationTests
	$(MAKE) --no-print-directory replay

root-test: build setup-test $(INTERFERE) ## The tests in network namespaces
	CNI_BIN=$(CNI) swift test --filter IntegrationTests --skip $(MEASURING_SUITES)
	CNI_BIN=$(CNI) swift test --skip-build --no-parallel --filter $(MEASURING_SUITES)

TORTURE_TABLE = $(BUILD)/torture/$(1).tsv

torture: build setup-test $(INTERFERE) ## Every death and fault at every system call, every race: all parts, and one table
	status=0; for part in $(TORTURE_PARTS); do $(MAKE) --no-print-directory torture-part PART=$$part || status=1; done; \
	    awk -f integration/torture/table.awk $(foreach part,$(TORTURE_PARTS),$(call TORTURE_TABLE,$(part))); exit $$status

$(addprefix torture-,$(TORTURE_PARTS)): torture-%: build setup-test $(INTERFERE)
	status=0; $(MAKE) --no-print-directory torture-part PART=$* || status=1; \
	    awk -f integration/torture/table.awk $(call TORTURE_TABLE,$*); exit $$status

torture-part: SUITE = $(subst deaths,Death,$(subst errors,Fault,$(subst interruptions,Interruption,$(subst disks,Disk,$(subst races,Race,$(subst security,Security,$(PART)))))))Tests
torture-part:
	mkdir -p $(BUILD)/torture
	rm -f $(call TORTURE_TABLE,$(PART)) && touch $(call TORTURE_TABLE,$(PART))
	start=$$(date +%s); \
	    TORTURE=whole TORTURE_TABLE=$(call TORTURE_TABLE,$(PART)) CNI_BIN=$(CNI) \
	    swift test --explicit-target-dependency-import-check error --filter IntegrationTests.Torture/$(SUITE) || status=$$?; \
	    echo "$(PART): $$(($$(date +%s) - start)) s"; exit $${status:-0}

# The corpus of Tests/Fuzz, and variants of it for some seconds.
REPLAY_SECONDS ?= 15

replay: setup ## Every input of the fuzzers' corpus, and variants of them for REPLAY_SECONDS
	swift build --product replay
	"$$(swift build --show-bin-path)/replay" Tests/Fuzz/corpus $(REPLAY_SECONDS)

# Each target of Tests/Fuzz for so many seconds, from the corpus beside it, in a network namespace of its own.
FUZZ_TARGETS := configuration environment kernel reservations index
FUZZ_SECONDS ?= 600
FUZZER := $(BUILD)/fuzz/fuzzer

fuzz: setup ## Fuzzes every parser of outside bytes, by coverage, FUZZ_SECONDS each
	FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path $(BUILD)/fuzz --product Fuzz -Xswiftc -enable-testing
	swiftc -O -sanitize=fuzzer -o $(FUZZER) -Xlinker --whole-archive \
	    $(BUILD)/fuzz/release/libFuzz.a -Xlinker --no-whole-archive -lmnl -lnftnl -ljansson -lmd
	for target in $(FUZZ_TARGETS); do \
	    mkdir -p $(BUILD)/fuzz/$$target; \
	    FUZZ_TARGET=$$target unshare -rn $(FUZZER) -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 \
	        -rss_limit_mb=512 -artifact_prefix=$(BUILD)/fuzz/$$target- -print_final_stats=1 \
	        $(BUILD)/fuzz/$$target Tests/Fuzz/corpus/$$target > $(BUILD)/fuzz/$$target.log 2>&1 \
	        || { tail -40 $(BUILD)/fuzz/$$target.log; exit 1; }; \
	    awk -v target=$$target '/cov:/ {coverage = $$4} /number_of_executed_units/ {count = $$2} \
	        /peak_rss_mb/ {memory = $$2} \
	        END {print target ": " count " inputs, " coverage " edges, at most " memory " MB"}' \
	        $(BUILD)/fuzz/$$target.log; \
	done

# The names of the kernel's calls, from its header, and what interferes with them.
$(INTERFERE): integration/torture/interfere.c
	mkdir -p $(BUILD)/torture
	gcc -dM -E -include sys/syscall.h - < /dev/null \
	    | sed -n 's/^#define __NR_\([a-z0-9_]*\) [0-9]*$$/[__NR_\1] = "\1",/p' > $(BUILD)/torture/syscall-names.h
	gcc -O2 -Wall -Wextra -Werror -Wno-implicit-fallthrough -I$(BUILD)/torture -o $@ $<

guest-test: build setup-test ## What this kernel may lack, on a guest kernel; or SUITES, such as 'Portmap|Tap'
	swift build --build-tests
	bash integration/guest/run.sh "$$(swift build --show-bin-path)/swift-cniPackageTests.xctest" $(CNI) '$(SUITES)'

guest-smoke: ## One suite for each kind of link that this kernel may lack, on a guest kernel
	$(MAKE) guest-test SUITES='$(SMOKE_SUITES)'

guest-test-all: $(INTERFERE) ## All integration tests, on a guest kernel, some suites in each
	$(MAKE) guest-test SUITES=.

guest-table: ## What became of each test that a guest kernel has run, in one table
	swift build --build-tests
	bash integration/guest/run.sh "$$(swift build --show-bin-path)/swift-cniPackageTests.xctest" $(CNI) table

runtime-test: build deb dist ## containerd, podman and libcni with the package and the archive, on a host of their own
	bash integration/runtime/run.sh $(DIST) $(VERSION)

bench: build ## Times beside Debian's Go plugins and a C floor, in one run
	bash integration/install-packages.sh $(BENCH_PACKAGES)
	bash integration/bench/bench.sh $(CNI)

bench-shaping: build setup-test ## What bandwidth keeps, beside Debian's Go plugin, and the picture of it in docs/
	python3 -B integration/bench/shaping/shaping.py $(CNI) \
	    "$$(bash integration/fetch-peer.sh $(BUILD)/peer)" docs/borrowing.svg

bench-plugins: build ## ADD and DEL of every plugin of links beside Debian's Go plugin
	bash integration/install-packages.sh $(BENCH_PACKAGES) $(GUEST_PACKAGES)
	bash integration/bench/plugins.sh $(CNI)

lint: ## The formatter's rules, strictly
	swift format lint --strict --parallel -r Package.swift Sources Tests integration

format: ## Formats in place
	swift format --in-place --parallel -r Package.swift Sources Tests integration

man: build ## The manual's pages, in .build/man
	mkdir -p $(BUILD)/man
	$(BUILD)/cnictl manual $(BUILD)/man

# The modules that others may read the declarations of; a warning of the documentation is an error.
API := Addressing CNI IPAM Netlink Nftables Operator Plan PluginRuntime Plugins Rtnetlink SystemBus TrafficControl

api-docs: setup ## What the public declarations say, as a web site in .build/api
	swift package dump-symbol-graph --minimum-access-level public > $(BUILD)/symbols.log || { cat $(BUILD)/symbols.log; exit 1; }
	rm -rf $(BUILD)/api $(BUILD)/api-symbols
	mkdir -p $(BUILD)/api-symbols
	for module in $(API); do \
	    cp "$$(sed -n 's/^Files written to //p' $(BUILD)/symbols.log)"/$$module*.symbols.json $(BUILD)/api-symbols/; \
	done
	docc convert --fallback-display-name swift-cni --fallback-bundle-identifier swift-cni --warnings-as-errors \
	    --additional-symbol-graph-dir $(BUILD)/api-symbols --output-path $(BUILD)/api

completions: build ## Completions of cnictl for shells, in .build/completions
	mkdir -p $(BUILD)/completions
	for shell in bash zsh fish; do \
	    $(BUILD)/cnictl --generate-completion-script $$shell > $(BUILD)/completions/cnictl.$$shell; \
	done

install: build ## Puts the program and its links into $(DESTDIR)$(BINDIR), each name at once whole
	mkdir -p $(DESTDIR)$(BINDIR)
	install -m 755 $(CNI)/swift-cni $(DESTDIR)$(BINDIR)/.swift-cni.new
	mv -f $(DESTDIR)$(BINDIR)/.swift-cni.new $(DESTDIR)$(BINDIR)/swift-cni
	for plugin in $(PLUGINS); do \
	    ln -f $(DESTDIR)$(BINDIR)/swift-cni $(DESTDIR)$(BINDIR)/.$$plugin.new; \
	    mv -f $(DESTDIR)$(BINDIR)/.$$plugin.new $(DESTDIR)$(BINDIR)/$$plugin; \
	    rm -f $(DESTDIR)$(BINDIR)/.$$plugin.new; \
	done
	mkdir -p $(DESTDIR)$(SBINDIR)
	install -m 755 $(BUILD)/cnictl $(DESTDIR)$(SBINDIR)/.cnictl.new
	mv -f $(DESTDIR)$(SBINDIR)/.cnictl.new $(DESTDIR)$(SBINDIR)/cnictl

deb: man ## A Debian package, .build/dist/swift-cni_*.deb
	@bash integration/install-packages.sh $(PACKAGE_PACKAGES)
	bash integration/package/deb.sh $(VERSION) $(DIST)

dist: build ## An archive for /opt/cni/bin and its checksums, the same bytes for the same commit and compiler
	bash integration/package/dist.sh $(VERSION) $(DIST)

reproducible: setup ## Builds the commit in two folders, and compares their packages and archives
	@bash integration/install-packages.sh $(PACKAGE_PACKAGES)
	bash integration/package/reproducible.sh $(VERSION)

clean:
	rm -rf $(BUILD)

setup:
	@bash integration/install-packages.sh $(BUILD_PACKAGES)

setup-test:
	@bash integration/install-packages.sh $(TEST_PACKAGES)
	@bash integration/fetch-peer.sh $(BUILD)/peer > /dev/null
	@bash integration/fetch-peer.sh $(BUILD)/firewalld firewalld > /dev/null

# The Swift runtime, libstdc++, libgcc, libjansson, libmd and libnftnl go into the program; libmnl and libc
# stay shared, since Debian ships no libmnl.a. Where there is one beside the libmnl that pkg-config knows, or
# where LIBMNL_A says, nothing of the plugins' program stays shared; with `make LIBMNL_A=` it is as without.
LIBMNL_A ?= $(wildcard $(shell pkg-config --variable=libdir libmnl 2> /dev/null)/libmnl.a)
LINKED := $(LINK)/.with-$(if $(LIBMNL_A),static,shared)-libc
REPLACED := swift_copyAuxiliaryExecutablePath \
    _swift_stdlib_getUnsafeArgvArgc _swift_stdlib_overrideUnsafeArgvArgc
RELEASE := -c release --scratch-path $(BUILD) --static-swift-stdlib -Xlinker -L$(LINK) \
    -Xlinker --gc-sections -Xlinker --no-export-dynamic -Xlinker --build-id=none -Xlinker -s --disable-local-rpath \
    -Xlinker $(LINK)/start.o $(addprefix -Xlinker --wrap=,$(REPLACED)) \
    -Xswiftc -Xclang-linker -Xswiftc $(if $(LIBMNL_A),-static,-no-pie) \
    -Xswiftc -cross-module-optimization \
    $(addprefix -Xswiftc -Xfrontend -Xswiftc -,prespecialize-generic-metadata \
        disable-concrete-type-metadata-mangled-name-accessors \
        disable-implicit-concurrency-module-import disable-implicit-string-processing-module-import) \
    --explicit-target-dependency-import-check error --product swift-cni

# The operator's command has a build of its own: it has tasks and regular expressions in its reach.
CNICTL_RELEASE := -c release --scratch-path $(BUILD)/operator --static-swift-stdlib \
    -Xlinker -L$(LINK) -Xlinker --gc-sections -Xlinker --build-id=none -Xlinker -s --disable-local-rpath \
    -Xswiftc -Xclang-linker -Xswiftc -no-pie \
    --explicit-target-dependency-import-check error --product cnictl

# Zeros over the section whose digests, which only the compiler reads, depend on the folder: the bytes
# are then the same wherever they are built.
without-place = read -r offset size < <(readelf --sections --wide $1 \
    | sed -n 's/.* \.swift_modhash *PROGBITS *[0-9a-f]* *\([0-9a-f]*\) *\([0-9a-f]*\) .*/\1 \2/p') \
    && dd if=/dev/zero of=$1 bs=1 seek=$$((16\#$$offset)) count=$$((16\#$$size)) conv=notrunc status=none

.PHONY: release-build
release-build: $(LINKED)
	PKG_CONFIG_PATH=$(LINK)/pkgconfig swift build $(RELEASE)
	PKG_CONFIG_PATH=$(LINK)/pkgconfig swift build $(CNICTL_RELEASE)
	mkdir -p $(CNI)
	cp -f "$$(swift build -c release --scratch-path $(BUILD)/operator --show-bin-path)/cnictl" $(BUILD)/.cnictl.new
	$(call without-place,$(BUILD)/.cnictl.new)
	mv -f $(BUILD)/.cnictl.new $(BUILD)/cnictl
	cp -f "$$(swift build -c release --scratch-path $(BUILD) --show-bin-path)/swift-cni" $(CNI)/.swift-cni.new
	$(call without-place,$(CNI)/.swift-cni.new)
	mv -f $(CNI)/.swift-cni.new $(CNI)/swift-cni
	for plugin in $(PLUGINS); do ln -sf swift-cni $(CNI)/$$plugin; done

# A directory that the linker looks into first and that holds only static libraries; pkg-config
# is pointed at it too, because what it says comes first on the linker's command line.
$(LINKED): Makefile Sources/CStart/start.c
	rm -rf $(LINK)
	mkdir -p $(LINK)/pkgconfig
	for library in libstdc++.a libjansson.a libmd.a libnftnl.a; do \
	    ln -sf "$$(gcc -print-file-name=$$library)" $(LINK)/; \
	done
	ln -sf "$$(gcc -print-file-name=libgcc_eh.a)" $(LINK)/libgcc_s.a
	$(if $(LIBMNL_A),ln -sf "$$(realpath "$(LIBMNL_A)")" $(LINK)/libmnl.a)
	for package in jansson libmd libnftnl libmnl; do \
	    sed 's|^libdir=.*|libdir=$(LINK)|' \
	        "$$(pkg-config --variable=pcfiledir $$package)/$$package.pc" > $(LINK)/pkgconfig/$$package.pc; \
	done
	gcc -O2 -Wall -Werror -c -o $(LINK)/start.o Sources/CStart/start.c
	touch $@
