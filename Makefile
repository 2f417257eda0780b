# make demo    build flurm and see it work, on this machine alone
# make test    everything that must hold (as root also on a real Slurm cluster)
# make build   the release binary
# make install PREFIX=$HOME/.local    bin/flurm, and lib/flurm/libpmi.so for MPI libraries that open one
# make vm-masks    where tasks are bound, seen in a virtual machine with two sockets (qemu, a minute or two)
# make lint    format, lints, and the checks of xtask
# make mpi-examples MPICC=mpicc.mpich    the programs of templates/examples/mpi, for that MPI

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: build clean demo install lint mpi-examples test test-lab vm-masks

build:
	scripts/deps.sh build
	cargo build --locked --release --package flurm --package flurm-libpmi
	scripts/check-binary.sh $(TARGET)/release/flurm

PREFIX ?= /usr/local

install: build
	install -D $(TARGET)/release/flurm $(DESTDIR)$(PREFIX)/bin/flurm
	install -D $(TARGET)/release/libpmi.so $(DESTDIR)$(PREFIX)/lib/flurm/libpmi.so
	ln -sf libpmi.so $(DESTDIR)$(PREFIX)/lib/flurm/libpmi2.so

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
	cargo build --locked --package flurm --package flurm-libpmi
	cargo xtask lab test

vm-masks:
	scripts/deps.sh vm
	cargo build --locked --package flurm
	tests/lab/masks-vm.sh

# Into a directory for each MPI: they do not mix.
MPICC ?= mpicc
MPI_EXAMPLES := $(TARGET)/mpi-examples
MPI_OUT := $(MPI_EXAMPLES)/$(notdir $(MPICC))
MPI_SOURCE := templates/examples/mpi

mpi-examples:
	scripts/deps.sh examples
	mkdir -p $(MPI_OUT)/c
	for name in hello ring allreduce abort; do \
	  $(MPICC) -O2 -o $(MPI_OUT)/c/$$name $(MPI_SOURCE)/c/$$name.c || exit; done
	MPICC=$(MPICC) cargo build --locked --release --manifest-path $(MPI_SOURCE)/Cargo.toml \
	  --target-dir $(MPI_EXAMPLES)/build.$(notdir $(MPICC))
	for name in hello ring allreduce ep cg ft; do \
	  cp $(MPI_EXAMPLES)/build.$(notdir $(MPICC))/release/$$name $(MPI_OUT)/ || exit; done

clean:
	cargo clean
