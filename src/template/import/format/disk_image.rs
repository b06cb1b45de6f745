//! Disk images that are not raw: they have a header or a footer, and most a map of blocks.

use crate::template::import::format::signature::{self, Format, Signature};

const fn image(name: &'static str) -> Format {
    Format { name, remedy: "convert it with `qemu-img convert -O raw FILE image.raw`" }
}

const SIGNATURES: [Signature; 12] = [
    (0, b"QFI\xFB", image("a qcow2 image")),
    (0, b"QED\0", image("a QED image")),
    (0, b"KDMV", image("a VMDK image")),
    (0, b"COWD", image("a VMDK image")),
    (0, b"# Disk Descriptor", image("a VMDK descriptor")),
    (0, b"vhdxfile", image("a VHDX image")),
    (0, b"conectix", image("a VHD image")),
    (0x40, b"\x7F\x10\xDA\xBE", image("a VDI image")),
    (0, b"WithoutFreeSpace", image("a Parallels image")),
    (0, b"WithouFreSpacExt", image("a Parallels image")),
    (
        0,
        b"EVF\x09\x0D\x0A\xFF\0",
        Format {
            name: "an EWF (E01) image",
            remedy: "convert it with `ewfexport -f raw -t image FILE`",
        },
    ),
    (
        0,
        b"\x3A\xFF\x26\xED",
        Format {
            name: "an Android sparse image",
            remedy: "convert it with `simg2img FILE image.raw`",
        },
    ),
];

/// A raw image with a footer; `qemu-img` calls it a fixed VPC image.
const FIXED_VHD: Format = Format {
    name: "a VHD image of fixed size (a raw image with a footer)",
    remedy: "cut the footer off a copy of the file: `truncate -s -512 COPY`",
};
const DMG: Format = image("an Apple disk image (DMG)");

pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    signature::find(head, &SIGNATURES)
}

pub(super) fn of_tail(tail: &[u8]) -> Option<Format> {
    const VERSION_1: &[u8] = &[0, 1, 0, 0];
    let has = |at: usize, mark: &[u8]| tail.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if has(0, b"conectix") && has(12, VERSION_1) {
        return Some(FIXED_VHD);
    }
    (has(0, b"koly") && has(4, &[0, 0, 0, 4, 0, 0, 2, 0])).then_some(DMG)
}
