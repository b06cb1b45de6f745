//! File systems that are made empty.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The kind of a file system without files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptyFileSystem {
    /// ext4 with 4 KiB blocks and a journal, as calf makes it of files too.
    Ext4,
}

impl FromStr for EmptyFileSystem {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ext4" => Ok(Self::Ext4),
            _ => Err(Error::invalid(
                "kind of an empty file system",
                format!("calf makes no {text:.40?}"),
            )
            .remedy("give `ext4`; others: make an image (`mkfs.xfs image`), and import that")),
        }
    }
}

impl fmt::Display for EmptyFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
        })
    }
}
