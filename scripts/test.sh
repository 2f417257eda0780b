#!/usr/bin/env bash
# test.sh - everything that must hold: format, lints, documentation, tests, and the tests on a real Slurm cluster.
#
# The cluster needs root. Without it those tests are named and skipped, and the last line counts them.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
target=${CARGO_TARGET_DIR:-$PWD/target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet

step "the binary"
cargo build --locked --package flurm --package flurm-libpmi
export FLURM_BIN=$target/debug/flurm
scripts/check-binary.sh "$FLURM_BIN"

step "tests"
skipped=0
if [ "$(id -u)" = 0 ] && command -v slurmctld munged unshare ip >/dev/null; then
  export FLURM_REQUIRE_LAB=1
else
  skipped=1
  echo "those on a real Slurm cluster are skipped: they need root, slurmctld, slurmd, munge and iproute2"
  echo "to run them: sudo make test-lab"
fi
cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log"

step "done"
awk -v skipped=$skipped '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^failed/) failed += $(i - 1) } }
  END { printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : "" }' "$log"
