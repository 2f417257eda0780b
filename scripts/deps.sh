#!/usr/bin/env bash
# deps.sh build|test|examples|mpi|vm - Debian packages that building (or testing) flurm, its MPI examples, the tests with
# real MPIs (scripts/mpis.sh), or the one in a virtual machine (tests/lab/masks-vm.sh) need.
#
# As root, or where sudo asks nothing, they are installed. Otherwise what is missing is named; what building needs is
# then an error, what only some tests need is not.
set -euo pipefail

BUILD=(gcc libc6-dev libhwloc-dev)
# libpmix-dev: `srun --mpi=pmix` loads libpmix.so by the name that only it has.
# mpich brings hydra, a launcher that speaks PMI-1; libpmi2-0 is Slurm's client of PMI-2.
LAB=(tmux slurmctld slurmd slurm-client slurm-wlm-basic-plugins libpmix-dev munge iproute2 util-linux mpich libpmi2-0)

# The crate `mpi` makes its bindings from the MPI's header.
EXAMPLES=(gcc libc6-dev libclang-dev)

# Open MPI 4.1 with PMIx 4.2; the other MPIs come from PyPI. Debian's MPICH stays: it has the launcher.
MPI=(gcc libc6-dev openmpi-bin libopenmpi-dev)
python3 -m pip --version >/dev/null 2>&1 || MPI+=(python3-pip)

# A machine with sockets, in software; its kernel is fetched, not installed.
VM=(qemu-system-x86 busybox-static cpio binutils)

say() { echo "deps: $*" >&2; }

absent() { # PACKAGE... : those of them that are not installed
  local p
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || :)" = installed ] || echo "$p"
  done
}

install() { # PACKAGE...
  local as=()
  [ "$(id -u)" = 0 ] || as=(sudo -n)
  # Package lists may be older than the mirror: try as we are, then with fresh ones.
  local apt=("${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=600)
  "${apt[@]}" install --no-install-recommends "$@" ||
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; }
}

command -v cargo >/dev/null || { say "no cargo: install Rust 1.90 or later (https://rustup.rs)"; exit 1; }

if ! command -v dpkg-query >/dev/null; then
  say "not a Debian machine: building needs a C compiler and hwloc's static library (libhwloc.a)"
  exit 0
fi

case ${1:-build} in
build) mapfile -t missing < <(absent "${BUILD[@]}") ;;
test) mapfile -t missing < <(absent "${BUILD[@]}" "${LAB[@]}") ;;
examples) mapfile -t missing < <(absent "${EXAMPLES[@]}") ;;
mpi) mapfile -t missing < <(absent "${MPI[@]}") ;;
vm) mapfile -t missing < <(absent "${VM[@]}") ;;
*) say "usage: deps.sh build|test|examples|mpi|vm"; exit 2 ;;
esac
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
  say "installing ${missing[*]}"
  # The lab starts its own daemons; the packages' services are not wanted (and need no start here).
  install "${missing[@]}" >&2 || { say "could not install ${missing[*]}"; exit 1; }
  exit 0
fi

say "missing: ${missing[*]}"
say "install with: apt-get install --no-install-recommends ${missing[*]}"
mapfile -t needed < <(absent "${BUILD[@]}")
[ "${#needed[@]}" = 0 ] || { say "building is not possible without: ${needed[*]}"; exit 1; }
say "going on without them: tests on a real Slurm cluster will be skipped"
