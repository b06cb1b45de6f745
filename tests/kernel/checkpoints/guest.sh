#!/bin/busybox sh
# A guest that knows in its memory what its disk must hold. Each turn of its loop writes a number to
# the disk, forgets the cached pages, reads the number again, and compares.
PATH=/bin
busybox mount -t proc proc /proc
say() { echo "guest: $*"; }

n=0
say ready
while [ "$word" != end ]; do
    if IFS= read -r -t 1 word && [ -n "$word" ] && [ "$word" != end ]; then
        echo "$word" > /name
        busybox sync
        say "named $word"
    fi
    echo 3 > /proc/sys/vm/drop_caches
    [ "$n" -eq 0 ] || [ "$(busybox cat /count)" = "$n" ] ||
        say "torn: memory has $n, the disk $(busybox cat /count)"
    n=$((n + 1))
    echo "$n" > /count
    busybox sync
    say "count $n"
done
busybox mount -o remount,ro /
say done
echo o > /proc/sysrq-trigger
# The disk disappears while the machine powers off: start no program from it.
while :; do :; done
