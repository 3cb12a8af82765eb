"""CPUs that are not here: a Debian userland and QEMU's user mode run the device's own programs."""
