//! How a volume is used, and whether its template allows this use.

use crate::error::{Error, ErrorKind, Result};
use crate::model::mount_options;

/// File systems that calf mounts: their `st_dev` is their device, clones of them can be mounted
/// side by side, and they grow while mounted. Templates with other file systems serve block
/// volumes, which the guest mounts.
const MOUNTABLE: [&str; 4] = ["ext2", "ext3", "ext4", "xfs"];

/// How a volume is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// As a raw block device.
    Block,
    /// As a mounted file system.
    Mount {
        /// The file system that the caller expects; must match the template's.
        fs_type: Option<String>,
        /// Mount options as users write them.
        options: Vec<String>,
    },
}

impl Access {
    /// Refuses to mount `what` unless its file system, `found`, is the one that the caller expects,
    /// and calf can mount it and passes on the options. Block access is always fine.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if another kind of access, or another template, is needed.
    pub fn check(&self, found: Option<&str>, what: &str) -> Result<()> {
        let Self::Mount { fs_type, .. } = self else { return Ok(()) };
        self.check_options()?;
        let asked = fs_type.as_deref().filter(|asked| !asked.is_empty());
        let block = "use it as a block volume (volumeMode: Block), or choose another template";
        let (why, remedy) = match found {
            None => ("it contains no file system that calf knows".to_owned(), block.to_owned()),
            Some(found) if asked.is_some_and(|asked| asked != found) => (
                format!(
                    "the request has fs_type {}, but the file system is {found}",
                    asked.unwrap_or_default()
                ),
                format!("request fs_type {found} or none, or choose another template"),
            ),
            Some(found) if !MOUNTABLE.contains(&found) => (
                format!("calf does not mount {found}, only {}", MOUNTABLE.join(", ")),
                block.to_owned(),
            ),
            Some(_) => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArgument, "mount", what, why).remedy(remedy))
    }

    /// Refuses mount options that calf does not pass on.
    pub(crate) fn check_options(&self) -> Result<()> {
        match self {
            Self::Mount { options, .. } => mount_options::parse(options).map(drop),
            Self::Block => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_must_match_the_template() {
        let mount = |fs_type: Option<&str>| Access::Mount {
            fs_type: fs_type.map(str::to_owned),
            options: Vec::new(),
        };
        for (access, found, fine) in [
            (Access::Block, None, true),
            (Access::Block, Some("btrfs"), true),
            (mount(None), Some("ext4"), true),
            (mount(Some("")), Some("xfs"), true),
            (mount(Some("ext4")), Some("ext4"), true),
            (mount(Some("ext4")), Some("xfs"), false),
            (mount(None), Some("btrfs"), false),
            (mount(Some("squashfs")), Some("squashfs"), false),
            (mount(None), None, false),
        ] {
            let result = access.check(found, "template t");
            assert_eq!(result.is_ok(), fine, "{access:?} of {found:?}: {result:?}");
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
        }
    }
}
