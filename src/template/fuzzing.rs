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
