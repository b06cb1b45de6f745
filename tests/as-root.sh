#!/bin/sh
# Runs a command as root: directly, or with sudo.
if [ "$(id -u)" -eq 0 ]; then
    exec "$@"
elif command -v sudo >/dev/null; then
    exec sudo "$@"
fi
echo "needs root, and there is no sudo: run this as root: $*" >&2
exit 1
