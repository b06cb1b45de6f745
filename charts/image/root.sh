#!/bin/sh
# Makes a root directory of programs and the libraries that they load.
#
# usage: root.sh DIRECTORY PROGRAM...
set -eu

root=$1
shift

mkdir -p "$root/usr/bin" "$root/usr/sbin"
for program in "$@"; do
    case $program in
    */sbin/*) cp -L "$program" "$root/usr/sbin" ;;
    *) cp -L "$program" "$root/usr/bin" ;;
    esac
done

# ldd's lines: `name => /path (address)`, `/path (address)`, and the kernel's own without a path.
libraries=$(ldd "$@" | sed -n 's|^[^/]*\(/[^ ]*\) (.*|\1|p' | sort -u)
for library in $libraries; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
