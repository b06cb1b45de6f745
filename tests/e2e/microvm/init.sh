#!/bin/busybox sh
# The first process of the microVM, on its root disk: reports its system, writes, powers off.
# Lines that start with "microvm: " are for the reader of the serial line.
proof=/root/written-by-the-guest

busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
say() { echo "microvm: $*"; }

say "linux $(busybox uname -r)"
say "disk $(busybox cat /sys/block/vda/size) sectors"
if [ -e "$proof" ]; then
    say "another guest wrote here before"
else
    say "fresh"
fi
busybox head -c 4194304 /dev/urandom > "$proof"
busybox sync
set -- $(busybox sha256sum "$proof")
say "sha256 $1"
busybox mount -o remount,ro /
say "done"
busybox poweroff -f
