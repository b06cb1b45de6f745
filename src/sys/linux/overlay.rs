//! The layers of an overlay file system, as the mount table shows them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::sys::linux::mountinfo::unescape;

/// The layers in the options of an overlay, by absolute paths. Those that are relative to a directory
/// that nobody knows any more are left out. `options` is the field of the mount table, in which the
/// kernel has escaped commas in values.
pub(super) fn layers(options: &[u8]) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for option in options.split(|&byte| byte == b',') {
        let Some(at) = option.iter().position(|&byte| byte == b'=') else { continue };
        let value = unescape(&option[at + 1..]);
        match &option[..at] {
            b"upperdir" | b"lowerdir+" | b"datadir+" => layers.push(value),
            b"lowerdir" => layers.extend(lower(&value)),
            _ => {}
        }
    }
    let paths = layers.into_iter().map(|layer| PathBuf::from(OsString::from_vec(layer)));
    paths.filter(|path| path.is_absolute()).collect()
}

/// Splits at colons. A backslash makes a colon part of a path.
fn lower(text: &[u8]) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    let mut escaped = false;
    for &byte in text {
        match (byte, layers.last_mut()) {
            (b'\\', _) if !escaped => escaped = true,
            (b':', _) if !escaped => layers.push(Vec::new()),
            (_, Some(layer)) => {
                layer.push(byte);
                escaped = false;
            }
            (_, None) => {}
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layers_are_found() {
        for (options, expected) in [
            ("rw,lowerdir=/a:/b,upperdir=/u,workdir=/w", vec!["/a", "/b", "/u"]),
            (r"ro,lowerdir=/a\134:b:/c\054d\040e,xino=off", vec!["/a:b", "/c,d e"]),
            ("lowerdir+=/a,lowerdir+=/b,datadir+=/d", vec!["/a", "/b", "/d"]),
            ("lowerdir=l/X:/a::/data", vec!["/a", "/data"]),
            ("rw,relatime", vec![]),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(layers(options.as_bytes()), expected, "{options}");
        }
    }
}
