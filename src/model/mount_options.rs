//! Mount options as users write them, and which of them calf refuses.
//!
//! calf decides some options itself (what to mount, where, and how to bind it), and others would let their
//! author stop the node or reach another of its devices. The file system accepts or refuses the rest.

use crate::error::{Error, ErrorKind, Result};

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountOption<'a> {
    /// The option, as it was written.
    pub(crate) text: &'a str,
    pub(crate) key: &'a str,
    /// Its value, without quotes.
    pub(crate) value: Option<&'a str>,
}

/// Options for things that calf does itself by mounting one device at one place.
const OURS: [&str; 20] = [
    "bind",
    "rbind",
    "move",
    "remount",
    "loop",
    "offset",
    "sizelimit",
    "source",
    "shared",
    "rshared",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "user",
    "users",
    "owner",
    "group",
];

/// Options that name other devices or files of the node, or a superblock that calf does not check
/// before the mount.
const REACHING: [&str; 6] = ["logdev", "rtdev", "journal_dev", "journal_path", "device", "sb"];

/// The option that has the kernel initialise an ext4 that nobody uses.
pub(crate) const INIT_TABLES: &str = "init_itable";

/// Parses options, and refuses those that calf does not pass on. As for `mount(8)`, quotes make a comma
/// part of a value: `context="system_u:object_r:container_file_t:s0:c1,c2"`.
pub(crate) fn parse(options: &[String]) -> Result<Vec<MountOption<'_>>> {
    options.iter().map(|option| parse_one(option).map_err(|why| refused(option, why))).collect()
}

fn parse_one(text: &str) -> Result<MountOption<'_>, &'static str> {
    const NOT_ONE: &str = "it is not a single option";
    if text.is_empty() || text.contains(char::is_control) {
        return Err(NOT_ONE);
    }
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    let value = match value.map(|value| (value, value.strip_prefix('"'))) {
        None => None,
        Some((plain, None)) if plain.contains(',') => return Err(NOT_ONE),
        Some((plain, None)) => Some(plain),
        Some((_, Some(rest))) => match rest.split_once('"') {
            Some((quoted, "")) => Some(quoted),
            Some((_, after)) if after.starts_with(',') => return Err(NOT_ONE),
            Some(_) => return Err("the closing quote does not end it"),
            None => return Err("a quote is not closed"),
        },
    };
    if key.contains(',') {
        return Err(NOT_ONE);
    }
    if [Some(key), value].iter().flatten().any(|part| part.contains('"')) {
        return Err("quotes must enclose the whole value");
    }
    check(key, value)?;
    Ok(MountOption { text, key, value })
}

fn check(key: &str, value: Option<&str>) -> Result<(), &'static str> {
    if OURS.contains(&key) || key.starts_with("x-") || key.starts_with("X-") {
        return Err("calf decides how and where a volume is mounted");
    }
    if REACHING.contains(&key) {
        return Err("it reaches beyond the volume");
    }
    if key == INIT_TABLES {
        return Err("the kernel would write to a volume that nobody uses; calf turns this off");
    }
    if matches!((key, value), ("errors" | "fatal_errors", Some("panic"))) {
        return Err("an error in the volume would stop the node");
    }
    Ok(())
}

fn refused(option: &str, why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "use mount option", format_args!("{option:?}"), why)
        .remedy("leave it out of the mount options, or write it as `mount -o` takes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(option: &str) -> Result<(String, Option<String>)> {
        let options = [option.to_owned()];
        let parsed = parse(&options)?;
        assert_eq!((parsed.len(), parsed[0].text), (1, option));
        Ok((parsed[0].key.to_owned(), parsed[0].value.map(str::to_owned)))
    }

    #[test]
    fn quotes_make_a_comma_part_of_a_value() {
        for (option, key, value) in [
            ("noatime", "noatime", None),
            ("commit=30", "commit", Some("30")),
            ("a=b=c", "a", Some("b=c")),
            ("stripe=", "stripe", Some("")),
            (r#"context="u:r:t:s0:c1,c2""#, "context", Some("u:r:t:s0:c1,c2")),
            (r#"context="u:r:t:s0""#, "context", Some("u:r:t:s0")),
            ("context=u:r:t:s0", "context", Some("u:r:t:s0")),
        ] {
            let expected = (key.to_owned(), value.map(str::to_owned));
            assert_eq!(one(option).unwrap(), expected, "{option}");
        }
    }

    #[test]
    fn what_is_not_one_option_is_refused() {
        for (option, why) in [
            ("", "not a single option"),
            ("noatime,bind", "not a single option"),
            ("a=b,c", "not a single option"),
            ("a,b=c", "not a single option"),
            (r#"context="a,b",bind"#, "not a single option"),
            ("a\nb", "not a single option"),
            (r#"context="a,b"#, "a quote is not closed"),
            (r#"context="a"b"#, "does not end it"),
            (r#"context=a"b,c""#, "not a single option"),
            (r#"context=a"b""#, "enclose the whole value"),
            (r#"con"text"#, "enclose the whole value"),
            (r#"errors="panic""#, "would stop the node"),
        ] {
            let error = one(option).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{option}");
            assert!(error.report().contains(why), "{option}: {}", error.report());
        }
    }

    #[test]
    fn options_that_are_not_the_users_are_refused_by_name() {
        for option in [
            "bind",
            "remount",
            "loop",
            "loop=/dev/loop0",
            "offset=4096",
            "source=/dev/sda",
            "shared",
            "x-systemd.automount",
            "logdev=/dev/sda",
            "journal_path=/dev/sda",
            "sb=131072",
            "device=/dev/sda",
            "init_itable",
            "init_itable=10",
            "errors=panic",
            "fatal_errors=panic",
        ] {
            let error = one(option).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{option}");
            assert!(error.report().contains(option), "{}", error.report());
        }
    }
}
