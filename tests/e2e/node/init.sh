#!/bin/sh
# The node's first process: turns a bare kernel into a Kubernetes node, as an administrator would.
#
# The kernel's root is the machine's, read-only. The node's root is an overlay of that and of a
# disk, so that everything is writable, and all changes are gone with the node. From the kernel's
# command line:
#   CALF_NODE_NAME, CALF_NODE_ADDRESS, CALF_NODE_GATEWAY    identity of the node
#   CALF_NODE_SHARED                                        a directory of the machine, writable here
#   CALF_NODE_AGENT                                         a program that takes commands
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
state=/dev/ubda
pool=/dev/ubdb

if [ "${1:-}" != on-new-root ]; then
    mount -t proc proc /proc
    modules=/usr/lib/uml/modules/$(uname -r)
    insmod "$modules/kernel/fs/overlayfs/overlay.ko"
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/state /mnt/root
    mount -t ext4 -o noinit_itable "$state" /mnt/state
    mkdir /mnt/state/upper /mnt/state/work
    mount -t overlay -o lowerdir=/,upperdir=/mnt/state/upper,workdir=/mnt/state/work overlay /mnt/root
    mkdir -p /mnt/root/mnt/state /mnt/root/mnt/old /mnt/root/mnt/shared
    mount --no-mtab --move /mnt/state /mnt/root/mnt/state
    cd /mnt/root
    pivot_root . mnt/old
    exec chroot . "$0" on-new-root
fi

umount -l /mnt/old
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
mount -t mqueue mqueue /dev/mqueue
for directory in /dev/shm /run /tmp; do
    # A project below it must stay visible.
    case $CALF_NODE_AGENT in "$directory"/*) continue ;; esac
    mount -t tmpfs tmpfs "$directory"
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t hostfs -o "$CALF_NODE_SHARED" none /mnt/shared

# An overlay cannot be the upper layer of another overlay, so containers write to the disk itself.
for directory in /var/lib/containerd /var/lib/kubelet /var/log; do
    mkdir -p "/mnt/state$directory" "$directory"
    mount --bind "/mnt/state$directory" "$directory"
done

# Where modprobe looks, here and in pods.
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "/usr/lib/uml/modules/$(uname -r)" "/lib/modules/$(uname -r)"
for module in loop dm-mod bridge veth; do
    modprobe "$module"
done

mkdir -p /var/lib/calf
mount -t xfs "$pool" /var/lib/calf
# Pods mount for the kubelet, and the kubelet for pods.
mount --make-rshared /

# cAdvisor, in the kubelet, refuses a processor without a clock speed.
{ cat /proc/cpuinfo; echo "cpu MHz		: 1000.000"; } > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo

hostname "$CALF_NODE_NAME"
ip link set lo up
ip address add "$CALF_NODE_ADDRESS/24" dev vec0
ip link set vec0 up
ip route add default via "$CALF_NODE_GATEWAY"
echo 1 > /proc/sys/net/ipv4/ip_forward
ulimit -n 65536

"$CALF_NODE_AGENT" &
# This process must reap orphaned processes, which waiting does.
wait $! || true
echo o > /proc/sysrq-trigger
sleep 60
