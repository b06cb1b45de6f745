#!/usr/bin/env bash
# Builds csi-sanity, the CSI community's conformance suite, at a pinned version.
#
# usage: tests/csi-sanity.sh DIRECTORY
set -euo pipefail

module=github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity
version=v5.6.0
go_needed=1.25

directory=${1:?usage: $0 DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
if [ -x "$directory/csi-sanity" ] && [ "$(cat "$directory/csi-sanity.version" 2>/dev/null)" = $version ]; then
    exit 0
fi

echo "building csi-sanity $version"
GOBIN=$directory CGO_ENABLED=0 GOFLAGS=-mod=mod \
    "$(dirname "$0")/go.sh" "$directory" $go_needed install "$module@$version"
echo $version > "$directory/csi-sanity.version"
