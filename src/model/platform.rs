//! Platforms, as container images name them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An operating system, an architecture, and possibly a variant of it: `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// The platform of this machine.
    pub fn of_this_machine() -> Self {
        let architecture = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else if cfg!(target_arch = "aarch64") {
            "arm64"
        } else if cfg!(target_arch = "riscv64") {
            "riscv64"
        } else {
            "unknown"
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// A platform with these names; an empty variant is none.
    #[cfg(feature = "formats")]
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let variant = (!variant.is_empty()).then(|| variant.to_owned());
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// How well an image for `other` suits this platform: the lower the better; `None` if it does not run.
    #[cfg(feature = "formats")]
    pub(crate) fn fit(&self, other: &Self) -> Option<u8> {
        if (&self.os, &self.architecture) != (&other.os, &other.architecture) {
            return None;
        }
        // Version 8 is what there is of 64-bit ARM.
        let plain = |variant: &Option<String>| match variant.as_deref() {
            Some("v8") if self.architecture == "arm64" => None,
            other => other.map(str::to_owned),
        };
        match (plain(&self.variant), plain(&other.variant)) {
            (wanted, found) if wanted == found => Some(0),
            (Some(_), None) => Some(1),
            // Nobody asked for a variant, which a machine may not have.
            (None, Some(_)) => Some(2),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => ("", "", None),
        };
        if ![os, architecture].iter().chain(variant.iter()).all(is_name) {
            let why = "it is not of the form OS/ARCHITECTURE";
            return Err(Error::invalid(format_args!("platform {text:.80?}"), why)
                .remedy("write it as linux/amd64 or linux/arm64"));
        }
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_written_as_container_images_do() {
        for text in ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "Linux/amd64", "a/b c"] {
            assert!(
                text.parse::<Platform>().unwrap_err().report().contains("linux/amd64"),
                "{text}"
            );
        }
    }

    #[cfg(feature = "formats")]
    #[test]
    fn an_image_for_the_same_machine_fits() {
        let fit = |wanted: &str, found: &str| {
            wanted.parse::<Platform>().unwrap().fit(&found.parse().unwrap())
        };
        assert_eq!(fit("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(fit("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(fit("linux/amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(fit("linux/amd64/v3", "linux/amd64"), Some(1));
        assert_eq!(fit("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(fit("linux/amd64", "linux/arm64"), None);
        assert_eq!(fit("linux/amd64", "windows/amd64"), None);
    }
}
