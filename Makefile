# make demo    build flurm and see it work, on this machine alone
# make test    everything that must hold (as root also on a real Slurm cluster)
# make build   the release binary
# make lint    format, lints, and the checks of xtask

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: build clean demo lint test test-lab

build:
	scripts/deps.sh build
	cargo build --locked --release --package flurm
	scripts/check-binary.sh $(TARGET)/release/flurm

demo: build
	FLURM_BIN=$(TARGET)/release/flurm scripts/demo.sh

lint:
	scripts/deps.sh build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo xtask layers
	cargo xtask tidy

test:
	scripts/deps.sh test
	scripts/test.sh

test-lab:
	scripts/deps.sh test
	cargo build --locked --package flurm
	cargo xtask lab test

clean:
	cargo clean
