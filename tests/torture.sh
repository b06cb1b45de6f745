#!/usr/bin/env bash
# Runs the fault runs in a real kernel and prints one table.
#
# usage: tests/torture.sh [FILTER]     only the tests whose name contains FILTER
#
# CALF_TORTURE=full (the default here), short, or a percentage of the full run.
# CALF_TORTURE_SEED=N repeats the choices of an earlier run.
# CALF_TORTURE_LOG=FILE names a file for the whole output.
set -uo pipefail

export CALF_TORTURE=${CALF_TORTURE:-full}
log=${CALF_TORTURE_LOG:-${CARGO_TARGET_DIR:-target}/torture.log}
mkdir -p "$(dirname "$log")"
: >"$log"
failed=0

run() { # KERNEL TEST
    echo "running $2 in $1, scale $CALF_TORTURE; all of its output goes to $log"
    CALF_KERNEL=$1 "${CARGO:-cargo}" test --test "$2" -- --nocapture ${FILTER:+"$FILTER"} >>"$log" 2>&1 ||
        failed=1
}

FILTER=${1:-}
run uml kernel_crash
run uml kernel_guard
run uml kernel_torture
run qemu kernel_torture_smp

echo
awk -F '\t' '
    BEGIN { format = "%-62s %7s %6s %5s %7s  %s\n"
            printf format, "fault", "tries", "found", "lost", "leaked", "run" }
    $1 == "TORTURE" { printf format, $2, $3, $4, $5, $6, $7 }' "$log"
if [ "$failed" = 1 ]; then
    echo
    echo "A promise was broken, or a test failed. What happened is in $log:"
    grep -E '^test .* FAILED$|: (found|lost|leaked) after ' "$log" | sort -u | head -40
    exit 1
fi
