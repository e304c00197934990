# Two commands do it all: `make demo` shows a conference, `make test` runs every test.

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Without the sound card no sound library is needed. These builds have a place of their own, so that they never take the
# place of a client with sound that `cargo build` made.
PROGRAMS := $(TARGET)/headless
DATA := $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/confab
PREFIX := /usr/local
UP_FLAGS :=
FUZZ_SECONDS := 60
# What is built together is compiled once: cargo chooses the features of what they share by what is asked for.
SHIPPED := -p confab -p confab-server -p confab-relay -p confab-benches
HEADLESS := --locked --no-default-features --target-dir $(PROGRAMS)
# Programs that tests run are built together with the tests: by themselves they would have other features of what they share, and all of
# it would be compiled twice.
TESTED := --workspace --bins --tests

.PHONY: audio-client bench-capacity bench-control bench-e2ee bench-instructions bench-leak bench-peers bench-relay bench-voice demo dist figures up test test-audio test-faults test-fleet lint fuzz fuzz-replay docs clean help install

help:
	@echo "make demo   a conference of four on this machine, with real voices; about 30 s after the build"
	@echo "make up   a server for you and your friends on this machine, until Ctrl-C; make install puts the programs into PREFIX/bin; UP_FLAGS=--map-ports opens its ports at a home router"
	@echo "make dist   Debian packages and tarballs of the programs in TARGET/dist, as docs/operating.md installs them"
	@echo "make test   every test but those of make test-fleet, and the longest of make test-faults and make test-audio"
	@echo "make test-fleet   three databases under load, of which one is killed and one hangs; about 2 min after the build"
	@echo "make test-faults   what docs/faults.md says of dying processes and broken networks, measured; about 30 min after the build"
	@echo "make test-audio   calls over sound cards without hardware, one of them for ten minutes; about 14 min after the build"
	@echo "make fuzz   every fuzz target, FUZZ_SECONDS=60 each; wants a nightly toolchain. make fuzz-replay does without, and is part of make test"
	@echo "make bench-relay, make bench-peers   what the relay costs: alone, and beside mumble-server"
	@echo "make bench-instructions   how many instructions the relay's pieces take; the same on every run"
	@echo "make bench-control   what control costs: joins, log-ins, idle connections, storage; about 10 min after the build"
	@echo "make bench-e2ee   what end-to-end encryption costs: frames, commits, joins, and gaps of voice; about 2 min after the build"
	@echo "make bench-capacity   a day of four million talkers on a thousand relays, in a simulation, and what it takes"
	@echo "make bench-leak   what lengths, levels and times of frames tell of what is said, over ten minutes of speech"
	@echo "make bench-voice   what a listener hears over networks that lose, by PESQ; about 10 min after the build"
	@echo "make figures   what the benches have measured, into docs/figures.json and the documents that name it"
	@echo "make lint   formatting, clippy and docs, with warnings denied"

demo:
	@scripts/setup build speech
	cargo build --release $(HEADLESS) $(SHIPPED)
	@$(PROGRAMS)/release/confab-bench demo --out $(TARGET)/demo

# A server for friends: control and relay in one process, on UDP ports 4433 and 4434, with its data in DATA. UP_FLAGS: more flags, such as
# `--map-ports`, by which a home router opens these ports, or `--public-name talk.example.org`. The client gets a sound card where ALSA's headers can be had.
up:
	@scripts/setup build
	@features=; if scripts/setup device; then features='--features confab/device'; fi; set -ex; \
		cargo build --release $(HEADLESS) $(SHIPPED) $$features
	@echo 'the programs are in $(PROGRAMS)/release; `make install` puts them into PREFIX/bin'
	$(PROGRAMS)/release/confab-control serve --with-relay --data-dir "$(DATA)" $(UP_FLAGS)

install:
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 $(PROGRAMS)/release/confab $(PROGRAMS)/release/confab-control $(PROGRAMS)/release/confab-relay "$(DESTDIR)$(PREFIX)/bin"

# Debian packages, and tarballs for other systems. The client gets a sound card where ALSA's headers can be had.
dist:
	@scripts/setup build dist
	@features=; if scripts/setup device; then features='--features confab/device'; else \
		echo "without ALSA's headers the packaged client has no sound card"; [ "$$CONFAB_REQUIRE_AUDIO" != 1 ]; \
	fi; set -ex; cargo build --profile dist $(HEADLESS) $(SHIPPED) -p confab-packaging $$features
	packaging/pack --programs $(PROGRAMS)/dist --out $(TARGET)/dist

test: audio-client
	cargo build $(HEADLESS) $(TESTED)
	cargo test $(HEADLESS) --workspace

# The client with a sound card, for tests that call over cards without hardware. It is built among the others, and beside a small test, so
# that only what differs is built twice, and put into a folder of its own; the build of the others takes its place after it.
# It needs ALSA's headers (scripts/setup device). Where they can't be had those tests are skipped, unless
# CONFAB_REQUIRE_AUDIO is 1.
audio-client:
	@scripts/setup build
	@if ! scripts/setup device; then \
		echo "without ALSA's headers there is no client with a sound card: its tests are skipped"; \
		rm -f $(TARGET)/device/confab; \
		[ "$$CONFAB_REQUIRE_AUDIO" != 1 ]; \
	else \
		set -ex; \
		cargo build $(HEADLESS) --workspace --bin confab --test structure --features confab/device; \
		mkdir -p $(TARGET)/device; \
		install -m 755 $(PROGRAMS)/debug/confab $(TARGET)/device/confab; \
	fi

# One at a time: they measure.
test-audio: audio-client
	cargo build $(HEADLESS) $(TESTED)
	CONFAB_REQUIRE_AUDIO=1 cargo test $(HEADLESS) --workspace --test audio --test calls -- \
		--include-ignored --test-threads=1 --nocapture

test-fleet:
	@scripts/setup build cql
	CONFAB_REQUIRE_CQL=1 cargo test $(HEADLESS) -p confab-control --lib fleet -- --ignored --nocapture

# One at a time: they measure. The database has a machine of its own in the field: here it takes what time the others leave.
test-faults:
	@scripts/setup build cql
	cargo build $(HEADLESS) $(TESTED)
	CONFAB_REQUIRE_CQL=1 CONFAB_FAULTS_STRICT=1 CASSANDRA_NICE=10 cargo test $(HEADLESS) --workspace --test faults -- \
		--include-ignored --test-threads=1

lint:
	@scripts/setup build
	cargo fmt --all --check
	cargo clippy $(HEADLESS) --workspace --all-targets -- -D warnings
	cargo clippy $(HEADLESS) --workspace --features confab-relay/portable,confab-fuzz/libfuzzer --all-targets -- -D warnings
	@if scripts/setup device; then \
		set -ex; cargo clippy $(HEADLESS) --workspace --features confab/device --all-targets -- -D warnings; \
	else \
		echo "without ALSA's headers the sound card's part is not checked"; [ "$$CONFAB_REQUIRE_AUDIO" != 1 ]; \
	fi
	RUSTDOCFLAGS="-D warnings" cargo doc $(HEADLESS) --workspace --no-deps

# Every fuzz target by its corpus and by chance, on any toolchain.
fuzz-replay:
	@scripts/setup build
	cargo test $(HEADLESS) --workspace --test replay

fuzz:
	@scripts/setup build
	@CARGO_TARGET_DIR=$(abspath $(TARGET)) scripts/fuzz $(FUZZ_SECONDS)

bench-relay:
	@scripts/setup build
	cargo build --profile dist $(HEADLESS) -p confab-server -p confab-relay -p confab-benches
	$(PROGRAMS)/dist/confab-bench relay --out $(TARGET)/bench/relay.json

bench-peers:
	@scripts/setup build peers
	cargo build --profile dist $(HEADLESS) -p confab-server -p confab-relay -p confab-benches
	$(PROGRAMS)/dist/confab-bench peers --out $(TARGET)/bench/peers.json

bench-instructions:
	@scripts/setup build valgrind
	cargo build --profile dist $(HEADLESS) -p confab-benches --bin confab-bench
	$(PROGRAMS)/dist/confab-bench instructions --out $(TARGET)/bench/instructions.json

bench-control:
	@scripts/setup build cql
	cargo build --profile dist $(HEADLESS) $(SHIPPED)
	$(PROGRAMS)/dist/confab-bench control --out $(TARGET)/bench/control.json

bench-e2ee:
	@scripts/setup build
	cargo build --profile dist $(HEADLESS) $(SHIPPED)
	$(PROGRAMS)/dist/confab-bench e2ee --out $(TARGET)/bench/e2ee.json

bench-capacity:
	@scripts/setup build
	cargo build --profile dist $(HEADLESS) -p confab-benches --bin confab-bench
	$(PROGRAMS)/dist/confab-bench capacity --out $(TARGET)/bench/capacity.json

bench-leak:
	@CONFAB_PESQ=$(TARGET)/pesq scripts/setup build speech pesq
	cargo build --profile dist $(HEADLESS) -p confab-benches --bin confab-bench
	$(PROGRAMS)/dist/confab-bench leak --python $(TARGET)/pesq/bin/python --out $(TARGET)/bench/leak.json

bench-voice:
	@CONFAB_PESQ=$(TARGET)/pesq scripts/setup build speech pesq
	cargo build --profile dist $(HEADLESS) -p confab-benches --bin confab-bench
	$(PROGRAMS)/dist/confab-bench voice --python $(TARGET)/pesq/bin/python --out $(TARGET)/bench/voice.json

# Takes what the benches before it have written into docs/figures.json, and from there into the documents.
figures:
	cargo build --release $(HEADLESS) -p confab-benches --bin confab-bench
	$(PROGRAMS)/release/confab-bench publish $(wildcard $(TARGET)/bench/*.json)

clean:
	cargo clean
