//! A checked `VolumeCapability`: how a volume will be used.

use crate::csi::request::{invalid, missing};
use crate::csi::v1;
use crate::csi::v1::volume_capability::access_mode::Mode;
use crate::csi::v1::volume_capability::{AccessType, MountVolume};
use crate::error::Result;
use crate::model::access::Access;

/// A well-formed `VolumeCapability`. Whether calf supports it is checked separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capability {
    access: Access,
    mode: Mode,
    mount_group: String,
}

impl Capability {
    /// Checks the one capability of a request.
    pub(super) fn one(field: &str, capability: Option<&v1::VolumeCapability>) -> Result<Self> {
        let capability = Self::parse(field, capability.ok_or_else(|| missing(field))?)?;
        capability.require_support()?;
        Ok(capability)
    }

    /// Checks that the capabilities of a request are present and well formed.
    pub(super) fn all(field: &str, capabilities: &[v1::VolumeCapability]) -> Result<Vec<Self>> {
        if capabilities.is_empty() {
            return Err(missing(field));
        }
        capabilities.iter().map(|capability| Self::parse(field, capability)).collect()
    }

    fn parse(field: &str, capability: &v1::VolumeCapability) -> Result<Self> {
        let mode_field = format!("{field}.access_mode");
        let mode = capability.access_mode.as_ref().ok_or_else(|| missing(&mode_field))?.mode;
        let mode = match Mode::try_from(mode) {
            Ok(Mode::Unknown) => return Err(missing(&mode_field)),
            Ok(mode) => mode,
            Err(_) => {
                return Err(invalid(&mode_field, mode, "CSI 1.13 has no such access mode")
                    .remedy("use an access mode of CSI 1.13"));
            }
        };
        let (access, mount_group) = match &capability.access_type {
            None => return Err(missing(&format!("{field}.access_type"))),
            Some(AccessType::Block(_)) => (Access::Block, String::new()),
            Some(AccessType::Mount(mount)) => {
                (mount_access(field, mount)?, mount.volume_mount_group.clone())
            }
        };
        Ok(Self { access, mode, mount_group })
    }

    /// Refuses capabilities that no volume of calf supports.
    pub(super) fn require_support(&self) -> Result<()> {
        const FIELD: &str = "volume_capability";
        match self.mode {
            Mode::MultiNodeReaderOnly
            | Mode::MultiNodeSingleWriter
            | Mode::MultiNodeMultiWriter => {
                return Err(invalid(
                    &format!("{FIELD}.access_mode"),
                    self.mode.as_str_name(),
                    "a volume lives on one node",
                )
                .remedy("use a single-node mode (ReadWriteOnce or ReadWriteOncePod)"));
            }
            Mode::Unknown
            | Mode::SingleNodeWriter
            | Mode::SingleNodeReaderOnly
            | Mode::SingleNodeSingleWriter
            | Mode::SingleNodeMultiWriter => {}
        }
        if !self.mount_group.is_empty() {
            return Err(invalid(
                &format!("{FIELD}.mount.volume_mount_group"),
                &self.mount_group,
                "this driver does not change the group of files",
            )
            .remedy("leave it out; the orchestrator can apply an fsGroup itself"));
        }
        self.access.check_options()
    }

    /// Block or mount.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the volume is a raw block device.
    pub(super) fn is_block(&self) -> bool {
        self.access == Access::Block
    }

    /// Whether the volume is read-only for everyone.
    pub(super) fn read_only(&self) -> bool {
        self.mode == Mode::SingleNodeReaderOnly
    }

    /// Whether the host mounts the volume for writing, and therefore grows its file system.
    pub(super) fn is_grown(&self) -> bool {
        !self.is_block() && !self.read_only()
    }

    /// Whether only one target may have the volume.
    pub(super) fn exclusive(&self) -> bool {
        self.mode == Mode::SingleNodeSingleWriter
    }
}

fn mount_access(field: &str, mount: &MountVolume) -> Result<Access> {
    let fs_type = Some(mount.fs_type.clone()).filter(|fs_type| !fs_type.is_empty());
    for flag in &mount.mount_flags {
        if flag.is_empty() || flag.chars().any(char::is_control) {
            return Err(invalid(
                &format!("{field}.mount.mount_flags"),
                flag,
                "it is empty or holds a control character",
            )
            .remedy("give mount options such as noatime"));
        }
    }
    Ok(Access::Mount { fs_type, options: mount.mount_flags.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::v1::volume_capability::{AccessMode, BlockVolume};
    use crate::error::ErrorKind;

    fn block(mode: Mode) -> v1::VolumeCapability {
        v1::VolumeCapability {
            access_type: Some(AccessType::Block(BlockVolume {})),
            access_mode: Some(AccessMode { mode: mode.into() }),
        }
    }

    fn mount(fs_type: &str, flags: &[&str]) -> v1::VolumeCapability {
        v1::VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume {
                fs_type: fs_type.into(),
                mount_flags: flags.iter().map(ToString::to_string).collect(),
                volume_mount_group: String::new(),
            })),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }
    }

    fn one(capability: &v1::VolumeCapability) -> Result<Capability> {
        Capability::one("volume_capability", Some(capability))
    }

    #[test]
    fn modes_become_what_the_engine_knows() {
        for (mode, read_only, exclusive) in [
            (Mode::SingleNodeWriter, false, false),
            (Mode::SingleNodeReaderOnly, true, false),
            (Mode::SingleNodeSingleWriter, false, true),
            (Mode::SingleNodeMultiWriter, false, false),
        ] {
            let capability = one(&block(mode)).unwrap();
            assert_eq!(capability.read_only(), read_only, "{mode:?}");
            assert_eq!(capability.exclusive(), exclusive, "{mode:?}");
            assert!(capability.is_block());
        }
    }

    #[test]
    fn multi_node_modes_are_well_formed_and_refused() {
        for mode in
            [Mode::MultiNodeReaderOnly, Mode::MultiNodeSingleWriter, Mode::MultiNodeMultiWriter]
        {
            assert_eq!(Capability::all("volume_capabilities", &[block(mode)]).unwrap().len(), 1);
            let error = one(&block(mode)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.report().contains(mode.as_str_name()), "{}", error.report());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            (None, "volume_capability"),
            (
                Some(v1::VolumeCapability { access_mode: None, ..block(Mode::SingleNodeWriter) }),
                "volume_capability.access_mode",
            ),
            (Some(block(Mode::Unknown)), "volume_capability.access_mode"),
            (
                Some(v1::VolumeCapability { access_type: None, ..block(Mode::SingleNodeWriter) }),
                "volume_capability.access_type",
            ),
        ];
        for (capability, field) in cases {
            let error = Capability::one("volume_capability", capability.as_ref()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.report().contains(&format!("{field} is required")), "{}", error.report());
        }
        assert!(Capability::all("volume_capabilities", &[]).is_err());
        let mut strange = block(Mode::SingleNodeWriter);
        strange.access_mode = Some(AccessMode { mode: 99 });
        assert_eq!(one(&strange).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn mounts_carry_options_and_file_system() {
        let capability = one(&mount("xfs", &["noatime", "discard"])).unwrap();
        assert_eq!(
            capability.access(),
            &Access::Mount {
                fs_type: Some("xfs".into()),
                options: vec!["noatime".into(), "discard".into()]
            }
        );
        assert_eq!(
            one(&mount("", &[])).unwrap().access(),
            &Access::Mount { fs_type: None, options: vec![] }
        );
        for flags in [&[""][..], &["a\0b"], &["a\nb"]] {
            assert!(one(&mount("", flags)).is_err(), "{flags:?}");
        }
        let mut group = mount("", &[]);
        if let Some(AccessType::Mount(mount)) = &mut group.access_type {
            mount.volume_mount_group = "1000".into();
        }
        assert!(one(&group).unwrap_err().report().contains("volume_mount_group"));
    }

    #[test]
    fn mount_options_are_checked_with_the_capability() {
        assert!(one(&mount("", &[r#"context="u:r:t:s0:c1,c2""#])).is_ok());
        for flag in ["bind", "noatime,bind", "errors=panic"] {
            let error = one(&mount("", &[flag])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{flag}");
            assert!(error.report().contains(flag), "{}", error.report());
        }
    }

    #[test]
    fn the_file_system_must_agree() {
        let check = |capability: v1::VolumeCapability, found: Option<&str>| {
            one(&capability).unwrap().access().check(found, "template t").is_ok()
        };
        assert!(check(mount("", &[]), Some("ext4")));
        assert!(check(mount("ext4", &[]), Some("ext4")));
        assert!(!check(mount("xfs", &[]), Some("ext4")));
        assert!(!check(mount("xfs", &[]), None));
        assert!(!check(mount("", &[]), None));
        assert!(check(block(Mode::SingleNodeWriter), None));
    }
}
