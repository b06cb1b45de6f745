//! Which partition of a disk becomes a template.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A partition of a disk, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partition {
    /// The one with the root file system.
    Root,
    /// The one with this number; the first has 1.
    Number(u32),
    /// The one with this label in the partition table (GPT).
    Label(String),
}

impl FromStr for Partition {
    type Err = Error;

    /// `root`, a number, or a label.
    fn from_str(text: &str) -> Result<Self> {
        const LONGEST: usize = 36;
        let refuse = |why| {
            Err(Error::invalid(format_args!("partition {text:.80?}"), why)
                .remedy("give `root`, a number from 1, or the label that the partition table has"))
        };
        if text == "root" {
            return Ok(Self::Root);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(number @ 1..=1024) => Ok(Self::Number(number)),
                _ => refuse("no partition has this number"),
            };
        }
        if text.is_empty() || text.encode_utf16().count() > LONGEST {
            return refuse("labels have 1 to 36 characters");
        }
        if text.chars().any(char::is_control) {
            return refuse("labels have no control characters");
        }
        Ok(Self::Label(text.to_owned()))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Number(number) => number.fmt(f),
            Self::Label(label) => f.write_str(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_partition_is_read_as_it_is_written() {
        for (text, partition) in [
            ("root", Partition::Root),
            ("1", Partition::Number(1)),
            ("128", Partition::Number(128)),
            ("cloudimg-rootfs", Partition::Label("cloudimg-rootfs".into())),
            ("Linux root (x86-64)", Partition::Label("Linux root (x86-64)".into())),
        ] {
            assert_eq!(text.parse::<Partition>().unwrap(), partition);
            assert_eq!(partition.to_string(), text);
        }
        for text in ["", "0", "1025", "99999999999", "a\nb", &"x".repeat(37)] {
            assert!(text.parse::<Partition>().is_err(), "{text:?}");
        }
    }
}
