//! Fuzzing of archives.

use std::io::Read;

use crate::error::{Error, ErrorKind};
use crate::template::import::rootfs::entry::Entry;
use crate::template::import::rootfs::layout;
use crate::template::import::rootfs::sparse::{self, Stored};
use crate::template::import::rootfs::tar::{self, End};
use crate::template::import::rootfs::tree::{Node, Tree};

const BLOCK: usize = 512;
/// Blocks of content that are laid out: a sparse file may claim many.
const MOST: u64 = 1 << 16;

/// A tar archive of a root file system, or a layer of an image.
pub(crate) fn archive(data: &[u8]) {
    let data = with_checksums(data);
    let mut tree = Tree::new();
    let mut blocks = 0;
    let mut take = |entry: Entry, content: &mut (dyn Read + Send)| {
        if let crate::template::import::rootfs::Kind::File(extent) = &entry.kind {
            blocks += sparse::blocks(extent);
            let mut stored = Vec::new();
            if Stored::new(extent, content).take(1 << 20).read_to_end(&mut stored).is_ok() {
                assert!(stored.len() as u64 <= sparse::blocks(extent) * sparse::BLOCK);
            }
        }
        tree.add(entry, true)
            .map_err(|why| Error::new(ErrorKind::InvalidArgument, "add", "it", why))
    };
    if tar::read(&mut &*data, End::Any, &mut take).is_err() || blocks > MOST {
        return;
    }
    let mut files = 0;
    tree.walk(&mut |_, name, id| {
        assert!(!name.is_empty() && !name.contains(['/', '\0']) && name != "..");
        files += u64::from(matches!(tree.file(id).node, Node::File { .. }));
    });
    if let Ok(plan) = layout::lay_out(&tree, None, "it") {
        assert!(plan.contents.len() as u64 <= files);
    }
}

/// The archive with the right checksum in all that looks like a header, or mutations would go no further.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for header in data.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar")) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    data
}
