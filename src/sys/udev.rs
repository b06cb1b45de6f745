//! The rules that keep udev, and the programs that it starts, away from what tenants wrote.

/// The rules, which match the UUIDs and names of calf's devices and the files of its loop devices.
pub const UDEV_RULES: &str = include_str!("../../charts/calf/files/10-calf.rules");

/// The name of the rules' file; the number makes it sort before the rules that it disables.
pub const UDEV_RULES_FILE: &str = "10-calf.rules";
