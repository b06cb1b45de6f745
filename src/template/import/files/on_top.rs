//! What an administrator adds to the files of a source: layers, an init.
//!
//! A container image has no init, so it boots no machine. The init finds how to run the image in a file.

use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolDir;
use crate::pool::image_config::Run;
use crate::sys::{FileKind, FileStatus, FileTree, ImageFile, OpenMode};
use crate::template::import::format::{HEAD, Packing};
use crate::template::import::rootfs::{Blob, Files, Given, Layer};
use crate::template::spec::ImportSpec;

const OPERATION: &str = "import";
/// Where the kernel looks first.
const INIT: &str = "sbin/init";
/// How to run the container image, for its init.
const RUN: &str = "etc/calf/image.json";
const PROGRAM: u16 = 0o755;
const DOCUMENT: u16 = 0o644;
/// Most bytes of an init: it is read at once.
const MAX_INIT: u64 = 64 << 20;

/// The layers and the init of an import, open for reading.
pub(crate) struct OnTop {
    layers: Vec<Opened>,
    init: Option<Vec<u8>>,
}

enum Opened {
    Directory(Box<dyn FileTree>, String),
    Archive { file: Box<dyn ImageFile>, found: FileStatus, packing: Option<Packing>, shown: String },
}

impl OnTop {
    pub(crate) fn open(pool: &PoolDir, spec: &ImportSpec) -> Result<Self> {
        let host = pool.host();
        let mut layers = Vec::new();
        for path in &spec.layers {
            let (path, shown) = (host.canonical_path(path)?, path.display().to_string());
            let kind = host.file(&path)?.map(|found| found.kind);
            if kind == Some(FileKind::Directory) {
                layers.push(Opened::Directory(host.open_tree(&path)?, shown));
                continue;
            }
            let file = host.open_image(&path, OpenMode::Read)?;
            let failed = |e| Error::io(OPERATION, &shown, e);
            let found = file.status().map_err(failed)?;
            let mut head = vec![0; HEAD];
            let read = file.fill_from(&mut head, 0).map_err(failed)?;
            let packing = Packing::of_head(&head[..read]);
            layers.push(Opened::Archive { file, found, packing, shown });
        }
        let init = spec.init.as_ref().map(|path| {
            let refused = |why: &'static str| {
                Err(Error::new(ErrorKind::InvalidArgument, OPERATION, path.display(), why)
                    .remedy("give a program for Linux, linked statically, or a script"))
            };
            let file = host.open_image(path, OpenMode::Read)?;
            let failed = |e| Error::io(OPERATION, path.display(), e);
            let found = file.status().map_err(failed)?;
            if !found.is_file() || found.length > MAX_INIT {
                return refused("an init is a file of at most 64 MiB");
            }
            let mut bytes = vec![0; found.length as usize];
            let read = file.fill_from(&mut bytes, 0).map_err(failed)?;
            bytes.truncate(read);
            if !bytes.starts_with(b"\x7FELF") && !bytes.starts_with(b"#!") {
                return refused("it is no program: the kernel could not start it");
            }
            Ok(bytes)
        });
        Ok(Self { layers, init: init.transpose()? })
    }

    /// The layers, from the lowest to the uppermost. `run` is how to run a container image.
    pub(crate) fn layers(&self, run: Option<&Run>) -> Vec<Layer<'_>> {
        let mut layers: Vec<Layer<'_>> = self.layers.iter().map(Opened::layer).collect();
        if let Some(init) = &self.init {
            let mut given = vec![Given { path: INIT, mode: PROGRAM, content: init.clone() }];
            if let Some(run) = run {
                let content = serde_json::to_vec_pretty(run).unwrap_or_default();
                given.push(Given { path: RUN, mode: DOCUMENT, content });
            }
            layers.push(Layer {
                files: Files::Given(given),
                has_whiteouts: false,
                is_on_top: true,
            });
        }
        layers
    }

    /// Fails if a layer is not what it was when it was opened. Files of directories are looked at one by one.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        for layer in &self.layers {
            let Opened::Archive { file, found, shown, .. } = layer else { continue };
            if file.status().map_err(|e| Error::io(OPERATION, shown, e))? != *found {
                let why = "it changed while it was read";
                return Err(Error::new(ErrorKind::InUse, OPERATION, shown, why)
                    .remedy("stop what writes to it, or give a copy of it"));
            }
        }
        Ok(())
    }
}

impl Opened {
    fn layer(&self) -> Layer<'_> {
        let files = match self {
            Self::Directory(tree, shown) => Files::Directory(&**tree, shown.clone()),
            Self::Archive { file, found, packing, shown } => {
                Files::Archive(Blob::new(&**file, found.length, *packing, shown))
            }
        };
        Layer { files, has_whiteouts: false, is_on_top: true }
    }
}
