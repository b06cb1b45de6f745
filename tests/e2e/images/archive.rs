//! An image as an archive: the layer, its configuration, and the manifest that names both.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use calf_test_kit::kernel::initramfs::{Entry, Initramfs};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::Result;

pub(super) struct Image<'a> {
    /// With registry and tag, as a pod names it.
    pub(super) name: &'a str,
    pub(super) root: Initramfs,
    pub(super) entrypoint: &'a [&'a str],
}

impl Image<'_> {
    /// Writes the archive into `directory`, and returns its path.
    pub(super) fn write(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("{}.tar", self.name.replace(['/', ':'], "_")));
        self.try_write(&path)
            .map_err(|error| format!("cannot make the image {}: {error}", self.name))?;
        Ok(path)
    }

    fn try_write(&self, path: &Path) -> io::Result<()> {
        let layer = path.with_extension("layer");
        write_layer(&self.root, &layer)?;
        let digest = sha256(&layer)?;
        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.entrypoint,
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        })
        .to_string();
        let manifest =
            json!([{ "Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"] }])
                .to_string();

        let mut archive = Builder::new(BufWriter::new(File::create(path)?));
        for (name, content) in [("config.json", configuration), ("manifest.json", manifest)] {
            let mut header = header(EntryType::Regular, content.len() as u64);
            archive.append_data(&mut header, name, content.as_bytes())?;
        }
        archive.append_file("layer.tar", &mut File::open(&layer)?)?;
        archive.into_inner()?.flush()?;
        std::fs::remove_file(layer)
    }
}

fn write_layer(root: &Initramfs, path: &Path) -> io::Result<()> {
    let mut layer = Builder::new(BufWriter::new(File::create(path)?));
    for (path, entry) in root.entries() {
        let name = path.strip_prefix("/").unwrap_or(path);
        match entry {
            Entry::Directory => {
                let mut header = header(EntryType::Directory, 0);
                layer.append_data(&mut header, name, io::empty())?;
            }
            Entry::Symlink(target) => {
                let mut header = header(EntryType::Symlink, 0);
                layer.append_link(&mut header, name, target)?;
            }
            Entry::File(file) => {
                let file = File::open(file)?;
                let mut header = header(EntryType::Regular, file.metadata()?.len());
                layer.append_data(&mut header, name, file)?;
            }
        }
    }
    layer.into_inner()?.flush()
}

/// Owned by root and with a fixed time, so that the same files make the same image.
fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}
