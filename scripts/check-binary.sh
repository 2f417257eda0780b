#!/usr/bin/env bash
# check-binary.sh FLURM - the binary needs the C library's own parts and nothing else, so that copying it installs it.
set -euo pipefail

flurm=${1:?usage: check-binary.sh FLURM}
strangers=$(ldd "$flurm" | awk '{print $1}' | grep -vE '^(linux-vdso\.so|libc\.so|libm\.so|/lib.*/ld-linux)' || :)
[ -z "$strangers" ] || { echo "check-binary: $flurm needs ${strangers//$'\n'/ }" >&2; exit 1; }
echo "check-binary: $flurm needs the C library only"
