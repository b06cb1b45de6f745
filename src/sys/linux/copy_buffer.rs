//! The memory that each snapshot sets aside for copying chunks: a parameter of `dm-mod`.
//!
//! The kernel gives each snapshot a copy client of its own, which allocates as much memory as it would copy at
//! a time (Linux, `dm_kcopyd_client_create` in `drivers/md/dm-kcopyd.c`). A snapshot never copies more than a
//! chunk at a time.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::linux::sysfs;

/// The parameter, in KiB. It applies to devices that are made later.
const PARAMETER: &str = "/sys/module/dm_mod/parameters/kcopyd_subjob_size_kb";
/// What 0 stands for (`DEFAULT_SUB_JOB_SIZE_KB`).
const DEFAULT_KIB: u64 = 512;

/// The present value, in bytes; `None` if the kernel has no such parameter, or `dm-mod` is not loaded.
pub(super) fn read() -> Result<Option<u64>> {
    let failed = |why| Error::io("read", PARAMETER, why);
    match sysfs::read(Path::new(PARAMETER)) {
        Ok(text) => parse(&text).map(Some).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

pub(super) fn set(bytes: u64) -> Result<()> {
    let failed = |why| {
        Error::io("set the size of copy buffers in", PARAMETER, why).remedy(
            "load `dm-mod` (Linux 5.4 or newer), give calf a writable /sys, or leave out \
             --kcopyd-subjob-size",
        )
    };
    let written = sysfs::write(Path::new(PARAMETER), &(bytes >> 10).to_string());
    let text = written.and_then(|file| sysfs::read_open(&file));
    let found = text.and_then(|text| parse(&text)).map_err(failed)?;
    if found == bytes {
        return Ok(());
    }
    Err(failed(io::Error::other(format!("it is {found} bytes after {bytes} was written"))))
}

fn parse(text: &str) -> io::Result<u64> {
    let number = text.parse().map_err(|_| io::Error::other(format!("{text:?} is no number")));
    number.map(|kib: u64| if kib == 0 { DEFAULT_KIB } else { kib } << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_in_kib_and_zero_stands_for_the_default() {
        assert_eq!(parse("64").unwrap(), 64 << 10);
        assert_eq!(parse("0").unwrap(), 512 << 10);
        assert!(parse("much").is_err());
    }
}
