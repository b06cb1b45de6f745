//! Archives: of an image, of the files of a file system, or of a container image.

use crate::template::import::format::signature::{self, Format, Signature};

const CONTAINER_IMAGE: Format = Format {
    name: "an archive of a container image",
    remedy: "say so (--format oci), or unpack the file first",
};
const APPLIANCE: Format = Format {
    name: "a virtual appliance (OVA)",
    remedy: "unpack it with `tar -xf FILE`, and convert its disk: `qemu-img convert -O raw DISK image.raw`",
};
const TAR: Format = Format {
    name: "a tar archive",
    remedy: "if it is one of a root file system, say so (--format rootfs); if it contains an image, unpack it and \
             import that",
};

const fn unpack(name: &'static str, remedy: &'static str) -> Format {
    Format { name, remedy }
}

const SIGNATURES: [Signature; 6] = [
    (
        0,
        b"PK\x03\x04",
        unpack("a zip archive", "unpack it with `unzip FILE`, and import the image in it"),
    ),
    (
        0,
        b"7z\xBC\xAF\x27\x1C",
        unpack("a 7z archive", "unpack it with `7z x FILE`, and import the image in it"),
    ),
    (0, b"Rar!\x1A\x07", unpack("a RAR archive", "unpack it, and import the image in it")),
    (0, b"!<arch>\n", unpack("an ar archive, such as a Debian package", "give a raw disk image")),
    (0, b"070701", unpack("a cpio archive, such as an initramfs", "give a raw disk image")),
    (0, b"070702", unpack("a cpio archive, such as an initramfs", "give a raw disk image")),
];

pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    signature::find(head, &SIGNATURES).or_else(|| tar(head))
}

/// What a tar archive of files holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archived {
    /// A container image.
    Container,
    /// The files of a file system, or any others.
    Files,
}

/// What a tar archive holds, by the names of its first members; `None` for a virtual appliance, and for
/// what is no tar archive.
pub(super) fn archived(head: &[u8]) -> Option<Archived> {
    match tar(head)? {
        CONTAINER_IMAGE => Some(Archived::Container),
        TAR => Some(Archived::Files),
        _ => None,
    }
}

/// Distinguishes tar archives by the names of their first members.
fn tar(head: &[u8]) -> Option<Format> {
    let mut names = Members(head).peekable();
    names.peek()?;
    let told = names.find_map(|name| match name {
        name if is_of_container(name) => Some(CONTAINER_IMAGE),
        name if name.ends_with(b".ovf") => Some(APPLIANCE),
        _ => None,
    });
    Some(told.unwrap_or(TAR))
}

/// Whether OCI layouts or archives of `docker save` start with a member of this name.
fn is_of_container(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let named: [&[u8]; 5] =
        [b"oci-layout", b"index.json", b"manifest.json", b"repositories", b"blobs/"];
    if named.contains(&name) || name.starts_with(b"blobs/sha256") {
        return true;
    }
    // A layer or a configuration, named by its digest.
    let (digest, rest) = name.split_at_checked(64).unwrap_or_default();
    let rests: [&[u8]; 5] = [b"/", b"/layer.tar", b"/VERSION", b".json", b".tar"];
    !digest.is_empty() && digest.iter().all(u8::is_ascii_hexdigit) && rests.contains(&rest)
}

/// The names of the members whose headers are in these bytes of a tar archive.
struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        const BLOCK: usize = 512;
        let header = self.0.get(..BLOCK)?;
        if !header[257..].starts_with(b"ustar") {
            return None;
        }
        let size = header[124..136].iter().filter(|byte| (b'0'..=b'7').contains(*byte));
        let size = size.fold(0usize, |size, digit| {
            size.saturating_mul(8).saturating_add(usize::from(digit - b'0'))
        });
        let next = size.div_ceil(BLOCK).saturating_add(1).saturating_mul(BLOCK);
        self.0 = self.0.get(next..).unwrap_or_default();
        let name = &header[..100];
        Some(&name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())])
    }
}
