# Makes the root image of a Debian system, as the file `image` in the current directory.
#
# Needs `init` there: the first process of the demonstration's microVM. $1 is a mirror, or empty.
set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

mmdebstrap --variant=minbase bookworm root.tar ${1:+"$1"}

echo "making the file system"
# Only root may change owners of files; for other users, fakeroot records the owners.
if [ "$(id -u)" -eq 0 ]; then as_root=; else as_root=fakeroot; fi
# The kernel makes the device nodes, and not every user may make them.
$as_root sh -eu <<'SCRIPT'
mkdir root
tar -xf root.tar -C root --exclude='./dev/*'
install -m 0755 init root/sbin/demo-init
truncate -s 1G unfinished
mke2fs -q -F -t ext4 -b 4096 -L debian -d root unfinished
SCRIPT
mv unfinished image
