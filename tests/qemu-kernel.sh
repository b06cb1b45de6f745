#!/usr/bin/env bash
# Fetches Debian's newest 6.12 cloud kernel into a directory, for tests in QEMU. Nothing is
# installed on this machine.
#
# usage: tests/qemu-kernel.sh DIRECTORY
set -euo pipefail

directory=${1:?usage: $0 DIRECTORY}
meta=linux-image-6.12-cloud-amd64

package=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p')
if [ -z "$package" ]; then
    "$(dirname "$0")/as-root.sh" apt-get update
    package=$(apt-cache depends "$meta" | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p')
fi
if [ -z "$package" ]; then
    echo "$0: this machine's package sources have no $meta (it is in Debian 12's security updates)" >&2
    exit 1
fi
release=${package#linux-image-}
if [ "$(cat "$directory/release" 2>/dev/null)" = "$release" ]; then
    exit 0
fi

echo "fetching $package"
rm -rf "$directory"
mkdir -p "$directory/package"
(cd "$directory/package" && apt-get download --quiet -o APT::Sandbox::User=root "$package" && dpkg-deb -x ./*.deb ..)
rm -rf "$directory/package"
# Compressed modules would need a kernel that decompresses them, or modprobe, in the guest.
find "$directory/lib/modules/$release" -name '*.ko.xz' -print0 | xargs -0 -P "$(nproc)" -n 64 xz -d
/sbin/depmod -b "$directory" "$release"
echo "$release" > "$directory/release"
