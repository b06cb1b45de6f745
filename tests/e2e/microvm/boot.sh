#!/bin/sh
# In a pod: boots the block device $1 as the root disk of a microVM, and ends with it.
#
# The guest's serial line becomes the pod's output. The CPU is emulated, since the test must run
# without KVM. An emulated microVM has no second clock to calibrate the first one with, and an
# emulated timer is too slow for that. Any frequency works, since the kernel corrects it. In
# User-Mode Linux a process may touch about 250 MiB (tests/kit/src/kernel/mod.rs), so guest and
# translations are small.
disk=${1:?usage: boot-microvm DEVICE}
exec qemu-system-x86_64 -M microvm,acpi=on -accel tcg,tb-size=32 -cpu max -m 128M \
    -nodefaults -no-user-config -no-reboot -display none -serial stdio \
    -kernel /boot/vmlinuz -initrd /boot/initramfs \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 tsc_early_khz=2000000 lpj=8000000" \
    -drive "if=none,id=root,format=raw,discard=unmap,file=$disk" \
    -device virtio-blk-device,drive=root
