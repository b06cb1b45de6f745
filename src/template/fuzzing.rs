//! Fuzzing of what templates hold, and of names and sizes that people write.

use std::path::Path;

use crate::model::checksums::digest_in_checksums;
use crate::model::{template_name, units};
use crate::pool::record;
use crate::template::import::state::ImportRecord;
use crate::template::import::{format, inspection};
use crate::template::superblock::{self as content, Content, MOUNTABLE_PREFIX};

/// The first bytes of an image, and the record of its import.
pub fn superblock(data: &[u8]) {
    if let Content::FileSystem(found) = content::detect(data) {
        assert!(found.block_size.is_power_of_two() && found.block_size >= 512, "{found:?}");
        found.is_read_only();
        for finding in &found.findings {
            assert!(!finding.what.contains(['\0', '\n', '\u{1b}']), "{finding:?}");
        }
    }
    // The check before a mount reads only these bytes, and must find the same.
    let start = &data[..data.len().min(MOUNTABLE_PREFIX)];
    assert_eq!(content::mountable(start), content::mountable(data));
    let _ = format::check_tail(&data[data.len().saturating_sub(format::TAIL)..], "it");
    if let Ok(Content::FileSystem(found)) =
        inspection::inspect_prefix(data, data.len() as u64, "it")
    {
        assert!(found.size <= data.len() as u64, "{found:?}");
    }
    let _ = record::parse::<ImportRecord>(data);
}

/// A compressed file.
#[cfg(feature = "formats")]
pub fn compressed(data: &[u8]) {
    use std::io::Read as _;

    use crate::template::import::format::Packing;
    use crate::template::import::unpack;

    /// Most bytes of content to unpack.
    const MOST: u64 = 4 << 20;
    let Some(packing) = Packing::of_head(data) else { return };
    let read = unpack::decoder(packing, data)
        .and_then(|content| content.take(MOST).read_to_end(&mut Vec::new()));
    if let Err(error) = read {
        let said = unpack::explain(packing, &error, data.len() as u64, "it");
        assert!(!said.remedies().is_empty(), "{said:?}");
    }
}

/// A tar archive of a root file system, or a layer of an image.
#[cfg(feature = "formats")]
pub fn archive(data: &[u8]) {
    crate::template::import::rootfs::fuzzing::archive(data);
}

/// The documents of a container image, and the name of one.
#[cfg(feature = "formats")]
pub fn container_image(data: &[u8]) {
    use crate::model::platform::Platform;
    use crate::template::import::oci::model::{self, Config, Parsed};
    use crate::template::import::source::reference::ImageReference;

    if let Ok(Parsed::Index(manifests)) = model::parse(data) {
        for wanted in ["linux/amd64", "linux/arm64/v8"] {
            let wanted: Platform = wanted.parse().expect("a platform");
            if let Ok(chosen) = model::choose(&manifests, &wanted) {
                let _ = chosen.digest();
            }
        }
    }
    if let Ok(config) = Config::parse(data) {
        let _ = config.layers();
        config.run();
        let _ = config.platform().to_string();
    }
    let _ = model::parse_saved(data);
    if let Ok(reference) = ImageReference::parse(&String::from_utf8_lossy(data)) {
        let text = reference.to_string();
        assert_eq!(ImageReference::parse(&text).ok().as_ref(), Some(&reference), "{text}");
    }
}

/// Lists of checksums.
pub fn checksums(data: &[u8]) {
    let _ = digest_in_checksums(&String::from_utf8_lossy(data), "image.raw.xz");
}

/// Names of templates, sizes, ids of volumes.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if template_name::is_valid(&text) {
        let path = Path::new(&*text);
        assert_eq!(path.file_name(), Some(path.as_os_str()), "{text:?} is a file's name");
        assert!(text.len() <= 128 && !text.starts_with('.'));
    }
    if crate::model::volume_id::is_valid(&text) {
        assert!(!text.is_empty() && text.len() <= 128 && !text.contains('\0'));
    }
    if let Ok(size) = units::parse_size("size", &text) {
        units::format_size(size);
    }
}

/// The first bytes of a disk with partitions.
#[cfg(feature = "formats")]
pub fn partitions(data: &[u8]) {
    use crate::model::partition::Partition;
    use crate::template::import::partition;

    for wanted in [Partition::Root, Partition::Number(1), Partition::Label("root".into())] {
        match partition::find(data, &wanted, "it") {
            Ok(place) => assert!(place.length > 0, "{place:?}"),
            Err(error) => assert!(!error.remedies().is_empty(), "{error:?}"),
        }
    }
}

/// A qcow2 image.
#[cfg(feature = "formats")]
pub fn qcow2(data: &[u8]) {
    use std::io;

    use crate::sys::SparseRead;
    use crate::template::import::qcow2::{Disk, explain};

    /// Most bytes of the disk to read, and parts of it to look at.
    const MOST: u64 = 1 << 20;
    const PARTS: usize = 64;

    struct Image<'a>(&'a [u8]);
    impl SparseRead for Image<'_> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..));
            let rest = rest.unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        }
        fn next_data(&self, offset: u64) -> io::Result<u64> {
            Ok(offset)
        }
        fn next_hole(&self, _: u64) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }

    let explained = |error: io::Error| {
        let error = explain(&error, "it").expect("reading memory does not fail");
        assert!(!error.remedies().is_empty(), "{error:?}");
    };
    let image = Image(data);
    let disk = match Disk::open(&image, "it") {
        Ok(disk) => disk,
        Err(error) => return assert!(!error.remedies().is_empty(), "{error:?}"),
    };
    let mut read = vec![0; disk.size().min(MOST) as usize];
    match disk.fill_from(&mut read, 0) {
        Ok(filled) => assert_eq!(filled, read.len()),
        Err(error) => return explained(error),
    }
    // What is a hole reads as zeros, and each answer leads on.
    let mut at = 0;
    for _ in 0..PARTS {
        let data = match disk.next_data(at) {
            Ok(data) => data.min(disk.size()),
            Err(error) => return explained(error),
        };
        assert!(data >= at);
        let hole = &read[read.len().min(at as usize)..read.len().min(data as usize)];
        assert!(hole.iter().all(|byte| *byte == 0), "a hole from {at} to {data}");
        at = match disk.next_hole(data) {
            Ok(hole) => hole.min(disk.size()),
            Err(error) => return explained(error),
        };
        assert!(at >= data);
        if at >= disk.size() {
            return;
        }
    }
}
