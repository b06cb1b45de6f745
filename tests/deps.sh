#!/usr/bin/env bash
# Installs the Debian packages that calf needs and this machine lacks.
#
# usage: tests/deps.sh GROUP...     build | test | smp | bench | demo | image | e2e
#
# CALF_SKIP_DEPS=1 makes it do nothing, for machines where the packages have other names.
set -euo pipefail

packages_of() {
    case $1 in
    build) echo build-essential pkg-config libdevmapper-dev libclang-dev clang ;;
    test) echo user-mode-linux dmsetup kmod e2fsprogs xfsprogs btrfs-progs \
        udev lvm2 multipath-tools zstd gzip xz-utils bzip2 gdisk fdisk qemu-utils umoci skopeo \
        qemu-system-x86 busybox-static ;;
    smp) echo qemu-system-x86 busybox-static xz-utils dmsetup kmod e2fsprogs xfsprogs btrfs-progs ;;
    e2e) echo user-mode-linux qemu-system-x86 busybox-static xz-utils iproute2 util-linux \
        containernetworking-plugins libseccomp-dev dmsetup kmod e2fsprogs xfsprogs ;;
    image) echo buildah mmdebstrap ;;
    bench) echo user-mode-linux lvm2 thin-provisioning-tools qemu-utils dmsetup kmod e2fsprogs xfsprogs ;;
    demo) echo user-mode-linux qemu-system-x86 busybox-static xz-utils mmdebstrap uidmap fakeroot \
        dmsetup kmod e2fsprogs xfsprogs ;;
    *) echo "$0: unknown group $1" >&2 && return 1 ;;
    esac
}

if [ "${CALF_SKIP_DEPS:-0}" = 1 ]; then
    exit 0
fi

wanted=()
for group in "$@"; do
    packages=$(packages_of "$group")
    for package in $packages; do
        wanted+=("$package")
    done
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    cat >&2 <<TEXT
$0: this is no Debian system, and only Debian's packages can be installed from here.
Install what these packages of Debian 12 hold, then repeat with CALF_SKIP_DEPS=1:
  ${wanted[*]}
TEXT
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

echo "installing ${missing[*]}"
as_root=$(dirname "$0")/as-root.sh
install=(env DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --quiet -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}")
# Fetches package lists only if they are missing or too old.
if ! "$as_root" "${install[@]}"; then
    "$as_root" apt-get update --quiet
    "$as_root" "${install[@]}"
fi
