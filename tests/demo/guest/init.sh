#!/bin/sh
# The first process of the microVM, on its root disk: reports its system, writes a file, powers off.
# Lines that start with "demo: " are for the reader of the serial line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
proof=/root/written-by-the-guest

say() { echo "demo: $*"; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
volume=$(sed -n 's/.*calf\.volume=\([^ ]*\).*/\1/p' /proc/cmdline)
. /etc/os-release

say "$PRETTY_NAME, $(grep -c '^Package: ' /var/lib/dpkg/status) packages, Linux $(uname -r)"
set -- $(df -h --output=source,fstype,size,used / | tail -n 1)
say "my root disk is $volume: $1, $2, $3, $4 used"
if [ -e "$proof" ]; then
    say "another guest wrote here: $(head -n 1 "$proof")"
else
    say "fresh: no guest wrote here before"
fi

{ echo "written by the microVM on $volume"; head -c 16M /dev/urandom; } > "$proof"
sync
say "wrote $proof, $(stat -c %s "$proof") bytes"
set -- $(sha256sum "$proof")
say "sha256 $1"
mount -o remount,ro /
say "done"
echo o > /proc/sysrq-trigger
# The disk disappears while the machine powers off: start no program from it.
while :; do :; done
