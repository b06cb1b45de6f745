#!/usr/bin/env bash
# Builds the Kubernetes that `make e2e` runs: each program as a Go module at a pinned version.
#
# usage: tests/e2e/install.sh DIRECTORY [PROGRAM...]
#
# The versions are in tools/*/go.mod, the hashes of everything that is built in the go.sum next to
# it. Binaries are written to DIRECTORY/bin, the definitions of snapshots to DIRECTORY/snapshot-crds. A binary that was built from the same module files, in
# the same way and by the same Go, is kept.
set -euo pipefail

directory=${1:?usage: $0 DIRECTORY [PROGRAM...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$directory/bin"
directory=$(cd "$directory" && pwd)

# The programs in the order in which they are built.
programs=(runc containerd containerd-shim-runc-v2 ctr
    kubelet kube-apiserver etcd kube-controller-manager kube-scheduler kubectl
    csi-provisioner csi-resizer csi-snapshotter snapshot-controller)

go_needed=1.26.6
export GOFLAGS="-mod=readonly -trimpath -buildvcs=false -p=2"
go() {
    "$here/../go.sh" "$directory/.." $go_needed "$@"
}

# The version of a module that tools/NAME requires.
version_of() {
    (cd "$here/tools/$1" && go list -m -f '{{.Version}}' "$2")
}

# Sets for a program: module (a directory of tools), package, and how it is built.
recipe() {
    local version
    cgo=0 tags='' link='-s -w'
    case $1 in
    runc)
        module=runc package=github.com/opencontainers/runc
        # Static, so that the node's version of libseccomp does not matter.
        cgo=1 tags=seccomp,netgo,osusergo
        version=$(version_of runc $package)
        link+=" -extldflags=-static -X main.version=${version#v}"
        ;;
    containerd | containerd-shim-runc-v2 | ctr)
        module=containerd package=github.com/containerd/containerd/v2/cmd/$1
        tags=no_btrfs,no_devmapper,no_zfs
        version=$(version_of containerd github.com/containerd/containerd/v2)
        link+=" -X github.com/containerd/containerd/v2/version.Version=$version"
        ;;
    kubelet | kube-* | kubectl)
        module=kubernetes package=k8s.io/kubernetes/cmd/$1
        version=$(version_of kubernetes k8s.io/kubernetes)
        # Without these, a component reports v0.0.0, and clients refuse to talk to it.
        local major minor
        IFS=. read -r major minor _ <<<"${version#v}"
        local variables
        for variables in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
            link+=" -X $variables.gitVersion=$version -X $variables.gitTreeState=clean"
            link+=" -X $variables.gitMajor=$major -X $variables.gitMinor=$minor"
        done
        ;;
    etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
    csi-provisioner) module=external-provisioner package=github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner ;;
    csi-resizer) module=external-resizer package=github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer ;;
    csi-snapshotter | snapshot-controller)
        module=external-snapshotter package=github.com/kubernetes-csi/external-snapshotter/v8/cmd/$1
        ;;
    *)
        echo "$0: unknown program $1; there are: ${programs[*]}" >&2
        return 1
        ;;
    esac
}

install() {
    local cgo tags link module package
    recipe "$1"
    local source=$here/tools/$module binary=$directory/bin/$1 stamp=$directory/bin/.$1.stamp made_from
    made_from=$({
        go env GOVERSION
        echo "$package $cgo $tags $link"
        find "$source" -type f -print0 | sort -z | xargs -0 cat
    } | sha256sum)
    if [ -x "$binary" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_from" ]; then
        return
    fi
    echo "building $1"
    local begin=$SECONDS
    (cd "$source" && CGO_ENABLED=$cgo go build -tags "$tags" -ldflags "$link" -o "$binary" "$package")
    echo "$made_from" >"$stamp"
    echo "built $1 in $((SECONDS - begin)) s"
}

# The objects that snapshot-controller serves are defined in a module of their own.
install_definitions() {
    local client
    (cd "$here/tools/external-snapshotter" && go mod download github.com/kubernetes-csi/external-snapshotter/client/v8)
    client=$(cd "$here/tools/external-snapshotter" &&
        go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
    mkdir -p "$directory/snapshot-crds"
    command install -m 0644 "$client"/config/crd/snapshot.storage.k8s.io_*.yaml "$directory/snapshot-crds/"
}

for program in "${@:-${programs[@]}}"; do
    install "$program"
done
install_definitions
