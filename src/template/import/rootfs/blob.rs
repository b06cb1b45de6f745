//! A file that is read from its start, more than once: an archive, or one layer of an image.

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::ImageFile;
use crate::template::import::format::Packing;
use crate::template::import::incoming::unreadable;
use crate::template::import::meter::{Hashed, Meter, Metered, Sum};
use crate::template::import::rootfs::tar::{self, End, Stopped, Take};
use crate::template::import::slice::Slice;
use crate::template::import::unpack;

const OPERATION: &str = "import";
const DAMAGED: &str = "fetch or make the archive again, and compare its SHA-256";

/// What the bytes of an archive must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Anything,
    /// As they are in the file.
    Packed(Digest),
    /// Once they are unpacked.
    Unpacked(Digest),
}

/// A tar archive in a file.
pub(crate) struct Blob<'a> {
    pub(crate) file: &'a dyn ImageFile,
    /// The part of the file that is the archive, in bytes.
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) packing: Option<Packing>,
    /// What people call it.
    pub(crate) shown: String,
    pub(crate) end: End,
    pub(crate) expected: Expected,
}

impl<'a> Blob<'a> {
    /// An archive that is all of a file.
    pub(crate) fn new(
        file: &'a dyn ImageFile,
        size: u64,
        packing: Option<Packing>,
        shown: &str,
    ) -> Self {
        let shown = shown.to_owned();
        Self {
            file,
            start: 0,
            size,
            packing,
            shown,
            end: End::Marked,
            expected: Expected::Anything,
        }
    }

    /// Takes every entry. `meter` counts the bytes that were read of the file. If that is wanted, returns
    /// the SHA-256 of the file, having compared it with what is expected.
    pub(crate) fn read(
        &self,
        wants_digest: bool,
        cancel: &Cancel,
        meter: &Meter,
        take: &mut Take<'_>,
    ) -> Result<Option<Digest>> {
        let (packed, unpacked) = (Sum::default(), Sum::default());
        let checks_content = wants_digest && matches!(self.expected, Expected::Unpacked(_));
        let failed = |error| Error::io(OPERATION, &self.shown, error);
        let inner = Slice::new(self.file, self.start, self.size);
        let inner = Hashed { inner, sum: wants_digest.then_some(&packed) };
        let outcome =
            self.unpacked(Metered { inner, meter, failed: &failed, cancel }).and_then(|inner| {
                let mut content = Hashed { inner, sum: checks_content.then_some(&unpacked) };
                tar::read(&mut content, self.end, take)
            });
        outcome.map_err(|stopped| {
            meter.failure().unwrap_or_else(|| self.explain(stopped, meter.bytes()))
        })?;
        if !wants_digest {
            return Ok(None);
        }
        let digest = packed.digest();
        match &self.expected {
            Expected::Packed(expected) if *expected != digest => {
                Err(self.unexpected(expected, &digest))
            }
            Expected::Unpacked(expected) if *expected != unpacked.digest() => {
                Err(self.unexpected(expected, &unpacked.digest()))
            }
            _ => Ok(Some(digest)),
        }
    }

    fn unexpected(&self, expected: &Digest, found: &Digest) -> Error {
        let why = format!("it is sha256:{found}, and sha256:{expected} was expected");
        Error::new(ErrorKind::InvalidArgument, OPERATION, &self.shown, why).remedy(DAMAGED)
    }

    fn unpacked<'b>(
        &self,
        bytes: impl Read + Send + 'b,
    ) -> Result<Box<dyn Read + Send + 'b>, Stopped> {
        Ok(match self.packing {
            None => Box::new(bytes),
            Some(packing) => unpack::decoder(packing, bytes)?,
        })
    }

    fn explain(&self, stopped: Stopped, read: u64) -> Error {
        let refused = |why: String| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, &self.shown, why).remedy(DAMAGED)
        };
        match stopped {
            Stopped::Taker(error) => error,
            Stopped::Refused(why) => refused(why),
            Stopped::Cut => refused("the archive has no end: it was cut short".to_owned()),
            Stopped::Input(error) => unreadable(error, self.packing, read, &self.shown),
        }
    }
}
