//! Stands for sources that hold files in a build without the feature `formats`, where archives and
//! directories are refused.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::template::import::naming::Imported;
use crate::template::import::source::Source;
use crate::template::import::state::Origin;
use crate::template::import::stream::Stream;
use crate::template::spec::{ImportFormat, ImportSpec, Progress};

pub(crate) const PEEK: usize = crate::template::import::format::HEAD;

pub(crate) fn format(_: &[u8], spec: &ImportSpec, shown: &str) -> Result<Option<ImportFormat>> {
    if spec.making().is_some() { Err(missing(shown)) } else { Ok(None) }
}

pub(crate) fn is_directory(_: &PoolDir, _: &Path) -> Result<bool> {
    Ok(false)
}

pub(crate) fn read_file(
    _: &PoolDir,
    source: &Source,
    _: ImportFormat,
    _: &ImportSpec,
    _: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    Err(missing(&source.path.display().to_string()))
}

pub(crate) fn read_stream(
    _: &PoolDir,
    stream: Stream<'_>,
    _: ImportFormat,
    _: &ImportSpec,
    _: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    Err(missing(&stream.shown))
}

pub(crate) fn import_directory(
    _: &PoolDir,
    _: &ImportSpec,
    path: &Path,
    _: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    Err(missing(&path.display().to_string()))
}

fn missing(shown: &str) -> Error {
    let why = "this program was built without the feature `formats` of calf";
    Error::new(ErrorKind::Unsupported, "import", shown, why)
        .remedy("build it with that feature, or give a raw image")
}
