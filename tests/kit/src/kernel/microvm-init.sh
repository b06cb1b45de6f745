#!/bin/busybox sh
# Early user space of the microVM: finds the root disk, and starts the system on it.
for module in @MODULES@; do
    busybox insmod "$module"
done
busybox mount -t devtmpfs devtmpfs /dev
tries=0
while [ ! -b /dev/vda ] && [ "$tries" -lt 200 ]; do
    busybox usleep 50000
    tries=$((tries + 1))
done
busybox mount -t ext4 /dev/vda /run || { echo "@MARK@cannot mount the root disk"; exit 1; }
busybox mount -o move /dev /run/dev
exec busybox chroot /run @INIT@
