//! The version of the running kernel.

use crate::error::{Error, ErrorKind, Result};

/// The first two numbers of the version.
pub(super) fn version() -> Result<(u32, u32)> {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    parse(&release).ok_or_else(|| {
        let why = format!("its release is {release:?}");
        Error::new(ErrorKind::Internal, "read the version of", "the kernel", why)
    })
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_kinds_are_understood() {
        for (release, expected) in [
            ("6.1.0-37-amd64", Some((6, 1))),
            ("6.12-rc3", Some((6, 12))),
            ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
            ("7.0", Some((7, 0))),
            ("", None),
            ("linux", None),
            ("6", None),
        ] {
            assert_eq!(parse(release), expected, "{release}");
        }
        assert!(version().unwrap() >= (4, 0));
    }
}
