#!/usr/bin/env bash
# demo.sh - four brokers on this machine, ten jobs, one of them failing on purpose; what became of them.
#
# `make demo` builds the binary and calls this. Nothing remains afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

flurm=$(realpath "${FLURM_BIN:-target/release/flurm}")
[ -x "$flurm" ] || { echo "demo: no $flurm: run \`make build\` first" >&2; exit 1; }

if [ -z "${FLURM_DEMO_INSIDE:-}" ]; then
  export FLURM_DEMO_INSIDE=1 FLURM_BIN=$flurm
  unset FLURM_URI FLUX_URI
  exec "$flurm" start --test-size=4 --config-path=templates/four-nodes.toml -- "$0"
fi

# From here on: the initial program, inside the instance.
PATH=$(dirname "$flurm"):$PATH
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }
begun=$(date +%s.%N)

say "Four brokers, one instance"
flurm resource tree

say "Ten jobs; number 7 fails on purpose"
ids=$(flurm submit --cc=1-7 --job-name=work-{cc} sh -c '[ "$FLUX_JOB_CC" != 7 ] || { echo "no input for part 7" >&2; exit 3; }; sleep 0.3')
ids+=" $(flurm submit -N4 -n16 --job-name=wide sh -c 'sleep 0.2')"
ids+=" $(flurm submit -N2 -n2 -c2 --job-name=pairs sh -c 'sleep 0.2')"
ids+=" $(flurm submit --requires=hosts:node3 --job-name=on-node3 hostname)"
failed=
for id in $ids; do
  flurm job attach "$id" >/dev/null 2>&1 || failed=$id
done
flurm jobs -a -o '{id.f58:>12} {name:<10} {ntasks:>6} {nnodes:>6} {runtime!F:>8} {status_abbrev:>2} {nodelist}'

say "Why did $failed fail?"
flurm job attach "$failed" 2>&1 || echo "exit code $?"

say "Utilisation"
flurm jobs -a -n -o '{ncores} {runtime}' | awk -v wall="$(echo "$(date +%s.%N) $begun" | awk '{print $1 - $2}')" \
  '{ used += $1 * $2 } END { printf "%.1f core-seconds of work in %.1f s on 16 cores: %.0f %% of them busy\n", used, wall, 100 * used / (16 * wall) }'
