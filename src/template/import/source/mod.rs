//! The file that an import reads: can it be a template, and is it still the same one?

pub(crate) mod elsewhere;
pub(crate) mod file;
#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod input;
#[cfg(feature = "http")]
mod pace;
pub(crate) mod reference;
pub(crate) mod remote;
pub(crate) mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::sys::{FileKind, FileStatus, Host, ImageFile, OpenMode};
use crate::template::import::format::{self, HEAD, Packing};
use crate::template::import::{inspection, qcow2};

const OPERATION: &str = "import";

/// Which file, and which state of it. Two equal identities are the same content as far as
/// [`Identity::settled_before`] and [`Source::is_on_file_system_of`] say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Identity {
    /// `st_dev`, or `st_rdev` of a block device.
    device: u64,
    /// `st_ino`; 0 for a block device.
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of `st_mtime`.
    modified: [i64; 2],
    /// Seconds and nanoseconds of `st_ctime`, which nobody can set back in a mounted file system.
    changed: [i64; 2],
}

impl Identity {
    /// Names the file, whatever its state: 16 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        hex::encode(&Sha256::digest(format!("{}:{}", self.device, self.inode))[..8])
    }

    /// Size of the file, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a change after `instant` would show in the identity. Time stamps of files advance
    /// in ticks of up to 10 ms, so one that is as young as `instant` proves nothing; and the
    /// content of a block device changes without any of them.
    pub(crate) fn settled_before(&self, instant: Timestamp) -> bool {
        const TICKS: SignedDuration = SignedDuration::from_millis(100);
        let changed = i32::try_from(self.changed[1])
            .ok()
            .and_then(|nanoseconds| Timestamp::new(self.changed[0], nanoseconds).ok());
        self.inode != 0 && changed.is_some_and(|changed| instant.duration_since(changed) > TICKS)
    }

    /// The identity of the regular file at `path` now, not following a symlink at its end; `None` if
    /// there is no such file.
    pub(crate) fn of(host: &dyn Host, path: &Path) -> Result<Option<Self>> {
        Ok(host.file(path)?.filter(FileStatus::is_file).map(Self::new))
    }

    /// The identity of the directory at `path`.
    #[cfg(feature = "formats")]
    pub(crate) fn of_directory(host: &dyn Host, path: &Path) -> Result<Self> {
        let found = host.file(path)?.filter(|found| found.kind == FileKind::Directory);
        found.map(Self::new).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                OPERATION,
                path.display(),
                "it is no directory any more",
            )
        })
    }

    fn new(found: FileStatus) -> Self {
        let FileStatus { kind, length: size, device, inode, modified, changed, .. } = found;
        let inode = if kind == FileKind::BlockDevice { 0 } else { inode };
        Self { device, inode, size, modified, changed }
    }
}

/// An image, open for reading.
pub(crate) struct Source {
    pub(crate) file: Box<dyn ImageFile>,
    /// Absolute, without symlinks.
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    /// Bytes that a copy takes up at most, where the file system can tell.
    pub(crate) allocated: Option<u64>,
    /// How it is compressed, if it is.
    pub(crate) packing: Option<Packing>,
    /// Of a disk image with a map of its blocks.
    pub(crate) disk: Option<qcow2::Header>,
}

impl Source {
    /// Opens `path` and checks that it is a raw image, one that was compressed, or a qcow2 image.
    pub(crate) fn open(host: &dyn Host, path: &Path) -> Result<Self> {
        let failed = |e| Error::io(OPERATION, path.display(), e);
        let file = host.open_image(path, OpenMode::Read).map_err(|error| {
            match elsewhere::remedy_for_missing(path) {
                Some(remedy) if error.kind() == ErrorKind::NotFound => {
                    error.remedy(format!("if this is the name of a container image: {remedy}"))
                }
                _ => error,
            }
        })?;
        let found = file.status().map_err(failed)?;
        let foreign = match found.kind {
            FileKind::Regular | FileKind::Linked | FileKind::BlockDevice => None,
            FileKind::Directory => Some("it is a directory"),
            FileKind::Other => Some("it is a special file"),
        };
        if let Some(what) = foreign {
            return Err(
                refuse(path.display(), what).remedy("give a raw disk image or a block device")
            );
        }
        let mut head = vec![0; HEAD];
        let filled = file.fill_from(&mut head, 0).map_err(failed)?;
        let packing = Packing::of_head(&head[..filled]);
        let disk = qcow2::header(&head[..filled], &path.display().to_string())?;
        let is_archive = cfg!(feature = "formats") && format::archived(&head[..filled]).is_some();
        if packing.is_none() && disk.is_none() && !is_archive {
            inspection::inspect(&*file, found.length, path.display())?;
        }
        Ok(Self {
            packing,
            disk,
            identity: Identity::new(found),
            allocated: found.is_file().then_some(found.allocated),
            path: host.canonical_path(path)?,
            file,
            size: found.length,
        })
    }

    /// Whether it can be cloned, and its state be told by its time stamps.
    pub(crate) fn is_regular(&self) -> bool {
        self.allocated.is_some()
    }

    /// Whether it is on the pool's file system. Only there does an equal identity prove that a file is the
    /// one that was read before. Elsewhere, another file system with the same device number may be mounted
    /// meanwhile, with a file of the same inode, size and times, as reproducible builds make them. If that
    /// happens to the pool's file system, the record of the identity is gone too.
    pub(crate) fn is_on_file_system_of(&self, pool: &PoolDir) -> Result<bool> {
        let images = pool.host().file(&pool.layout().images())?;
        Ok(self.is_regular() && images.is_some_and(|images| images.device == self.identity.device))
    }

    /// Fails if the file is not what it was when it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let failed = |e| Error::io(OPERATION, self.path.display(), e);
        if Identity::new(self.file.status().map_err(failed)?) == self.identity {
            return Ok(());
        }
        Err(self.changed())
    }

    /// The error for a file that changes under the import.
    pub(crate) fn changed(&self) -> Error {
        Error::new(ErrorKind::InUse, OPERATION, self.path.display(), "it changed while it was read")
            .remedy("stop what writes to it, or import a copy of it")
    }
}

/// The error for content that is not what was asked for. `source` is the digest of what it was made of.
pub(crate) fn unexpected(
    shown: impl fmt::Display,
    digest: &Digest,
    source: Option<&Digest>,
    expected: &Digest,
) -> Error {
    let why = match source {
        Some(source) => format!(
            "the file is sha256:{source}, its content is sha256:{digest}, and sha256:{expected} was expected"
        ),
        None => format!("its content is sha256:{digest}, and sha256:{expected} was expected"),
    };
    refuse(shown, why).remedy(
        "check the digest at the image's publisher: the image was replaced, or is not the one that \
         was meant",
    )
}

fn refuse(subject: impl fmt::Display, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::LinuxHost;

    fn refusal(content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        match Source::open(&LinuxHost::new(), file.path()) {
            Ok(_) => panic!("it was accepted"),
            Err(e) => e.report(),
        }
    }

    #[test]
    fn what_is_no_raw_image_is_refused_with_the_way_out() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b"KDMV").contains("qemu-img convert -O raw"));
        let mut vhd = vec![0; 4096];
        vhd[3584..3592].copy_from_slice(b"conectix");
        vhd[3596..3600].copy_from_slice(&[0, 1, 0, 0]);
        assert!(refusal(&vhd).contains("VHD"));
        let mut cut = vec![0; 4096];
        cut[1024 + 0x04] = 2;
        cut[1024 + 0x18] = 2;
        cut[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        assert!(refusal(&cut).contains("cut short"));
        let error = Source::open(&LinuxHost::new(), Path::new("/")).err().unwrap();
        assert!(error.report().contains("directory"), "{error:?}");
        let error = Source::open(&LinuxHost::new(), Path::new("/nowhere/at/all")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_young_file_proves_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 512]).unwrap();
        let identity = Identity::of(&LinuxHost::new(), file.path()).unwrap().unwrap();
        let now = Timestamp::now();
        assert!(!identity.settled_before(now));
        assert!(identity.settled_before(now + SignedDuration::from_secs(1)));
    }

    #[test]
    fn a_write_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 512]).unwrap();
        let source = Source::open(&LinuxHost::new(), file.path()).unwrap();
        source.check_unchanged().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(file.path(), [2; 512]).unwrap();
        assert_eq!(source.check_unchanged().unwrap_err().kind(), ErrorKind::InUse);
    }
}
