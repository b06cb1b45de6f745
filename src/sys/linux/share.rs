//! Has one file share blocks of another.

use std::fs::OpenOptions;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc::O_NOFOLLOW;
use rustix::io::Errno;

use crate::cow::pieces::Piece;
use crate::error::{Error, Result};
use crate::sys::linux::raw;

/// Whether an error says that two files cannot share blocks, or not these blocks: their file systems differ or
/// cannot do it, the place is not that of whole blocks, or only one of the files is copied on write.
pub(super) fn is_refusal(errno: Errno) -> bool {
    use Errno as E;
    matches!(errno, E::OPNOTSUPP | E::XDEV | E::INVAL | E::NOTTY | E::NOSYS)
}

/// Has `to` share the pieces of `from`; returns those that it cannot share.
pub(super) fn share(from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>> {
    let failed = |e: std::io::Error| {
        Error::io("share blocks of", format!("{} with {}", from.display(), to.display()), e)
    };
    let source =
        OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(from).map_err(failed)?;
    let target =
        OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(to).map_err(failed)?;
    let mut left = Vec::new();
    for piece in pieces {
        let Piece { from, to, length } = *piece;
        match raw::clone_range(source.as_fd(), from, length, target.as_fd(), to) {
            Err(e) if Errno::from_io_error(&e).is_some_and(is_refusal) => left.push(*piece),
            shared => shared.map_err(failed)?,
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn pieces_are_in_their_places_or_named_and_nothing_else_changes() {
        const BLOCK: u64 = 4096;
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let source: Vec<u8> = (0..8u8).flat_map(|n| [n; BLOCK as usize]).collect();
        fs::write(&from, &source).unwrap();
        let before = vec![0xff; 8 * BLOCK as usize];
        fs::write(&to, &before).unwrap();
        let piece = |from, to, length| Piece { from, to, length };
        let unfit = piece(512, 5 * BLOCK, 512);
        let pieces = [piece(2 * BLOCK, 0, 2 * BLOCK), unfit, piece(7 * BLOCK, 3 * BLOCK, BLOCK)];
        let left = share(&from, &to, &pieces).unwrap();
        assert!(left.contains(&unfit), "no file system shares a part of a block");
        let mut expected = before;
        for Piece { from, to, length } in pieces.into_iter().filter(|it| !left.contains(it)) {
            let part = &source[from as usize..][..length as usize];
            expected[to as usize..][..length as usize].copy_from_slice(part);
        }
        assert!(fs::read(&to).unwrap() == expected, "{left:?}");
        assert!(fs::read(&from).unwrap() == source);
    }

    #[test]
    fn a_symlink_is_followed_on_neither_side() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        File::create(&file).unwrap().write_all_at(&[1; 4096], 0).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(share(&link, &file, &[]).is_err());
        assert!(share(&file, &link, &[]).is_err());
        let missing = share(&directory.path().join("none"), &file, &[]).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
