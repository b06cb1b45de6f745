#!/usr/bin/env bash
# Builds the container image from the Dockerfile in this directory, without a Docker engine and
# without a registry, since it makes the base images itself.
#
# usage: charts/image/build.sh BINARY DIRECTORY
#
# BINARY is calf, built on Debian 12 or older. The result is DIRECTORY/calf.tar, an OCI archive of
# the image localhost/calf:VERSION (for `ctr images import`, `podman load`, `skopeo copy
# oci-archive:…`), and a file with its digest. The digest is the same for the same binary, revision
# and base.
set -euo pipefail

binary=${1:?usage: $0 BINARY DIRECTORY}
directory=${2:?usage: $0 BINARY DIRECTORY}
source=$(cd "$(dirname "$0")/../.." && pwd)
most_bytes=$((60 * 1000 * 1000))

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
version=$("$binary" --version)
version=${version#calf }
name=localhost/calf:$version
archive=$directory/calf.tar

# The parts of the Dockerfile's base images that the build needs: a shell, ldd, modprobe. Made once.
base=$directory/base.tar
if [ ! -e "$base" ]; then
    echo "making the base image"
    mmdebstrap --quiet --variant=minbase --include=kmod bookworm "$directory/base.new.tar"
    mv "$directory/base.new.tar" "$base"
fi

# Temporary storage of our own, with a driver that works everywhere.
storage=$(mktemp -d "$directory/storage.XXXXXX")
buildah() {
    command buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"
}
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$storage"' EXIT

container=$(buildah from scratch)
buildah add --quiet "$container" "$base" / >/dev/null
buildah commit --quiet --rm "$container" localhost/calf-base >/dev/null

# The context is the source, with the binary where .dockerignore lets it through.
staged=target/image/calf
install -D "$binary" "$source/$staged"
revision=$(git -C "$source" rev-parse HEAD 2>/dev/null || true)
: "${SOURCE_DATE_EPOCH:=$(git -C "$source" log -1 --format=%ct 2>/dev/null || echo 0)}"

echo "building $name"
buildah build --quiet --isolation chroot --pull-never \
    --timestamp "$SOURCE_DATE_EPOCH" \
    --ignorefile "$source/charts/image/Dockerfile.dockerignore" \
    --build-arg BUILD_IMAGE=localhost/calf-base \
    --build-arg BASE_IMAGE=localhost/calf-base \
    --build-arg BINARY=$staged \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --tag "$name" --file "$source/charts/image/Dockerfile" "$source" >/dev/null

# The programs in the image run, and the image is no larger than promised.
container=$(buildah from --pull-never "$name")
said=$(buildah run --isolation chroot "$container" /usr/bin/calf --version)
[ "$said" = "calf $version" ] || { echo "$0: calf in the image says: $said" >&2; exit 1; }
buildah run --isolation chroot "$container" /usr/sbin/modprobe --version >/dev/null
size=$(du --bytes --summarize "$(buildah mount "$container")" | cut -f 1)
[ "$size" -lt $most_bytes ] || { echo "$0: the image has $size bytes, $most_bytes are the most" >&2; exit 1; }

rm -f "$archive"
buildah push --quiet --digestfile "$archive.digest" "$name" "oci-archive:$archive:$name"
echo "$name: $((size / 1000 / 1000)) MB, $(($(stat -c %s "$archive") / 1000 / 1000)) MB packed, $(cat "$archive.digest")"
echo "$archive"
