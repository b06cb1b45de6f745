//! Standard input.

use std::io::{self, Cursor, IsTerminal as _, Read as _};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::sys::lock::Lock;
use crate::template::import::files::{self, PEEK};
use crate::template::import::format::Packing;
use crate::template::import::state::{self, Origin};
use crate::template::import::stream::{self, Stream};
use crate::template::spec::{ImportSpec, Progress, STANDARD_INPUT};

const OPERATION: &str = "import";

/// Standard input, to be read once.
pub(crate) struct Input {
    origin: state::Input,
}

impl Input {
    /// Refuses a terminal, from which nobody types an image.
    pub(crate) fn open() -> Result<Self> {
        if io::stdin().is_terminal() {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                STANDARD_INPUT,
                "it is a terminal",
            );
            return Err(error.remedy("redirect an image into it, or name the image's file"));
        }
        let import = hex::encode(rand::random::<[u8; 8]>());
        Ok(Self { origin: state::Input { import } })
    }

    /// Keeps other processes from removing what is made of it.
    pub(crate) fn lock(&self, pool: &PoolDir) -> Result<Lock> {
        pool.try_lock_import(&self.origin.import)?.ok_or_else(lost)
    }

    /// Reads all of it.
    pub(crate) fn read(
        &self,
        pool: &PoolDir,
        spec: &ImportSpec,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin)> {
        let failed = |error| Error::io(OPERATION, STANDARD_INPUT, error);
        let mut head = Vec::new();
        io::stdin().take(PEEK as u64).read_to_end(&mut head).map_err(failed)?;
        let format = files::format(&head, spec, STANDARD_INPUT)?;
        let stream = Stream {
            shown: STANDARD_INPUT.to_owned(),
            origin: Origin::Input(self.origin.clone()),
            packing: Packing::of_head(&head),
            partition: spec.partition.as_ref(),
            source_digest: None,
            bytes: Box::new(Cursor::new(head).chain(io::stdin())),
            size: None,
            failed: &failed,
            check: &|| Ok(()),
        };
        if let Some(format) = format {
            return files::read_stream(pool, stream, format, spec, progress);
        }
        stream::read(pool, stream, &spec.cancel, progress)
    }
}

/// The error for content that somebody removed before it had its name.
pub(crate) fn lost() -> Error {
    let why = "what was read of it was removed meanwhile";
    Error::new(ErrorKind::InProgress, OPERATION, STANDARD_INPUT, why).remedy("import it again")
}
