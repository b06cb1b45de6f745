//! Fuzzing of what templates hold, and of names and sizes that people write.

use std::path::Path;

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
