#!/usr/bin/env bash
# Builds a program that the tests use, a Go module, at a pinned version.
#
# usage: tests/go-tool.sh DIRECTORY csi-sanity|helm|registry
set -euo pipefail

directory=${1:?usage: $0 DIRECTORY TOOL}
tool=${2:?usage: $0 DIRECTORY TOOL}

case $tool in
# The CSI community's conformance suite
csi-sanity) package=github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity version=v5.6.0 go_needed=1.25 ;;
# What the chart is checked with. Version 4 has the libraries of the newest Kubernetes; the chart needs
# nothing that Helm 3 lacks.
helm) package=helm.sh/helm/v4/cmd/helm version=v4.3.1 go_needed=1.26 ;;
# The reference registry for container images
registry) package=github.com/distribution/distribution/v3/cmd/registry version=v3.1.2 go_needed=1.26 ;;
*) echo "$0: unknown tool $tool" >&2 && exit 1 ;;
esac

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
if [ -x "$directory/$tool" ] && [ "$(cat "$directory/$tool.version" 2>/dev/null)" = "$version" ]; then
    exit 0
fi

echo "building $tool $version"
GOBIN=$directory CGO_ENABLED=0 GOFLAGS=-mod=mod \
    "$(dirname "$0")/go.sh" "$directory" "$go_needed" install -ldflags=-s "$package@$version"
echo "$version" > "$directory/$tool.version"
