//! Mount options: translates the words that users write to the kernel's parameters.
//!
//! Options that are not flags of all mounts go to the file system, which accepts or refuses them.

use rustix::mount::MountAttrFlags;

use crate::error::Result;
use crate::model::mount_options::{self, INIT_TABLES, MountOption};

/// Mount options, sorted by their recipient.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// Flags of the mount.
    pub(super) attributes: MountAttrFlags,
    /// Parameters of the file system, with their values.
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// Options of `mount(8)` that have no meaning for the kernel, or are the default.
const IGNORED: [&str; 8] =
    ["defaults", "rw", "suid", "dev", "exec", "relatime", "_netdev", "nofail"];

/// Options that calf adds for ext2, ext3 and ext4. Otherwise the superblock decides how the host reacts to
/// an error, perhaps with a panic, and whether a sync reaches the disk. The user's options follow these.
const EXT_DEFAULTS: [(&str, Option<&str>); 3] = [
    ("errors", Some("remount-ro")),
    ("barrier", None),
    (INIT_TABLES_LATER.0, Some(INIT_TABLES_LATER.1)),
];

/// The option with which growing an ext4 leaves inode tables to a thread of the kernel. The number is how
/// long the thread waits after a table, in multiples of the time that the table took: it writes one, and
/// ends long before the next.
pub(super) const INIT_TABLES_LATER: (&str, &str) = (INIT_TABLES, "1000000");

/// The option that ends the thread. calf sets it itself, once the file system has grown.
pub(super) const NEVER_INIT_TABLES: &str = "noinit_itable";

/// Sorts `options` for a file system of type `fs_type`.
pub(super) fn parse(fs_type: &str, options: &[String], read_only: bool) -> Result<MountOptions> {
    let mut attributes = MountAttrFlags::empty();
    let mut parameters: Vec<(String, Option<String>)> = Vec::new();
    if read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        parameters.push(("ro".to_owned(), None));
    }
    let defaults = if is_ext(fs_type) { &EXT_DEFAULTS[..] } else { &[] };
    parameters
        .extend(defaults.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))));
    for MountOption { text: option, key, value } in mount_options::parse(options)? {
        if IGNORED.contains(&option) || option == NEVER_INIT_TABLES && is_ext(fs_type) {
            continue;
        }
        match attribute(option) {
            Some(flags) => {
                if flags.intersects(MountAttrFlags::MOUNT_ATTR__ATIME) {
                    attributes -= MountAttrFlags::MOUNT_ATTR__ATIME;
                }
                attributes |= flags;
                if option == "ro" && !read_only {
                    parameters.push(("ro".to_owned(), None));
                }
            }
            None => parameters.push((key.to_owned(), value.map(str::to_owned))),
        }
    }
    // Volumes of one template are clones, and share their UUID.
    if fs_type == "xfs" && !parameters.iter().any(|(key, _)| key == "nouuid") {
        parameters.push(("nouuid".to_owned(), None));
    }
    Ok(MountOptions { attributes, parameters })
}

/// The kernel's driver for a file system. The ext4 driver also mounts ext2 and ext3; unlike the separate
/// ext2 driver, it can grow them, and it has one set of options for all three.
pub(super) fn driver(fs_type: &str) -> &str {
    match fs_type {
        "ext2" | "ext3" => "ext4",
        other => other,
    }
}

/// Whether this is ext2, ext3 or ext4.
pub(super) fn is_ext(fs_type: &str) -> bool {
    driver(fs_type) == "ext4"
}

/// The flag behind an option of all mounts.
fn attribute(option: &str) -> Option<MountAttrFlags> {
    Some(match option {
        "ro" => MountAttrFlags::MOUNT_ATTR_RDONLY,
        "nosuid" => MountAttrFlags::MOUNT_ATTR_NOSUID,
        "nodev" => MountAttrFlags::MOUNT_ATTR_NODEV,
        "noexec" => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "noatime" => MountAttrFlags::MOUNT_ATTR_NOATIME,
        "strictatime" => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        "nodiratime" => MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        "nosymfollow" => MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What calf adds for ext4.
    const HOST: &str = "errors=remount-ro barrier init_itable=1000000";

    fn sorted(fs_type: &str, options: &str, read_only: bool) -> Result<MountOptions> {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        parse(fs_type, &options, read_only)
    }

    fn parameters(text: &str) -> Vec<(String, Option<String>)> {
        text.split_whitespace()
            .map(|word| match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            })
            .collect()
    }

    #[test]
    fn options_go_to_whom_they_concern() {
        use MountAttrFlags as M;
        for (fs_type, options, read_only, attributes, rest) in [
            ("ext4", "", false, M::empty(), "HOST"),
            ("ext4", "defaults rw relatime", false, M::empty(), "HOST"),
            ("ext4", "", true, M::MOUNT_ATTR_RDONLY, "ro HOST"),
            ("ext4", "ro", true, M::MOUNT_ATTR_RDONLY, "ro HOST"),
            ("ext4", "ro", false, M::MOUNT_ATTR_RDONLY, "HOST ro"),
            ("ext4", "rw", true, M::MOUNT_ATTR_RDONLY, "ro HOST"),
            (
                "ext4",
                "noatime nodev discard commit=30 sync",
                false,
                M::MOUNT_ATTR_NOATIME.union(M::MOUNT_ATTR_NODEV),
                "HOST discard commit=30 sync",
            ),
            ("ext4", "noatime strictatime", false, M::MOUNT_ATTR_STRICTATIME, "HOST"),
            ("xfs", "", false, M::empty(), "nouuid"),
            ("xfs", "nouuid", false, M::empty(), "nouuid"),
            ("btrfs", "compress=zstd:1", false, M::empty(), "compress=zstd:1"),
        ] {
            let rest = rest.replace("HOST", HOST);
            let expected = MountOptions { attributes, parameters: parameters(&rest) };
            assert_eq!(sorted(fs_type, options, read_only).unwrap(), expected, "{options}");
        }
    }

    #[test]
    fn the_host_decides_unless_the_user_does() {
        for (fs_type, options, expected) in [
            ("ext2", "", "HOST"),
            ("ext3", "", "HOST"),
            // The kernel takes the last one.
            ("ext4", "errors=continue", "HOST errors=continue"),
            ("ext4", "nobarrier", "HOST nobarrier"),
            // calf sets it itself, later. XFS does not know it, and says so.
            ("ext4", "noinit_itable", "HOST"),
            ("xfs", "noinit_itable", "noinit_itable nouuid"),
        ] {
            let expected = expected.replace("HOST", HOST);
            let found = sorted(fs_type, options, false).unwrap().parameters;
            assert_eq!(found, parameters(&expected), "{fs_type} {options}");
        }
    }

    #[test]
    fn a_quoted_value_is_passed_on_whole() {
        let found = sorted("xfs", r#"context="u:r:t:s0:c1,c2""#, false).unwrap().parameters;
        let context = ("context".to_owned(), Some("u:r:t:s0:c1,c2".to_owned()));
        assert_eq!(found, [context, ("nouuid".to_owned(), None)]);
        assert!(sorted("xfs", "noatime,bind", false).is_err());
    }
}
