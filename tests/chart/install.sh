#!/usr/bin/env bash
# Builds Helm, which the chart is checked with, at a pinned version.
#
# usage: tests/chart/install.sh DIRECTORY
#
# It is a Go module. Version 4 has the libraries of the newest Kubernetes; the chart needs nothing
# that Helm 3 lacks.
set -euo pipefail

package=helm.sh/helm/v4/cmd/helm
version=v4.3.1
go_needed=1.26

directory=${1:?usage: $0 DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
if [ -x "$directory/helm" ] && [ "$(cat "$directory/helm.version" 2>/dev/null)" = $version ]; then
    exit 0
fi

echo "building helm $version"
GOBIN=$directory CGO_ENABLED=0 GOFLAGS=-mod=mod \
    "$(dirname "$0")/../go.sh" "$directory" $go_needed install -ldflags=-s "$package@$version"
echo $version > "$directory/helm.version"
