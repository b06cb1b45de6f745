//! The rules that keep udev, and the programs that it starts, off what tenants wrote.

/// The rules: by the UUIDs and names of calf's devices, and by the files of its loop devices.
pub const UDEV_RULES: &str = include_str!("../../charts/calf/files/10-calf.rules");

/// The name of their file; the number puts it before the rules that it keeps off.
pub const UDEV_RULES_FILE: &str = "10-calf.rules";
