//! Stands for the decoders in a build without them, in which no file is found to be compressed.

use std::io::{self, Read};

use crate::error::Error;
use crate::template::import::format::Packing;

pub(crate) fn decoder<'a>(
    packing: Packing,
    _: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    match packing {}
}

pub(crate) fn explain(packing: Packing, _: &io::Error, _: u64, _: &str) -> Error {
    match packing {}
}
