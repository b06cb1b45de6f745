//! Images as OCI layouts, made by hand.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use calf_test_kit::programs::{hex_of, run, text};

/// A layer of lines: `dir/`, `file=content`, `link -> target`, `name == hard link`.
pub(super) fn layer(lines: &[&str]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for line in lines {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if let Some((name, target)) = line.split_once(" -> ") {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, name, target).unwrap();
        } else if let Some((name, target)) = line.split_once(" == ") {
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, name, target).unwrap();
        } else if let Some((name, content)) = line.split_once('=') {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        } else {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, line, std::io::empty()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

pub(super) fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    fs::write(&path, bytes).unwrap();
    let options: &[&str] = if program == "gzip" { &["-nc"] } else { &["-c"] };
    run(program, &[options, &[text(&path)]].concat())
}

/// An OCI layout in a directory.
pub(super) struct Layout(tempfile::TempDir);

impl Layout {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)
            .unwrap();
        Self(directory)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn blob_path(&self, bytes: &[u8]) -> PathBuf {
        self.path().join("blobs/sha256").join(hex_of(bytes))
    }

    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        fs::write(self.blob_path(bytes), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", hex_of(bytes)), "size": bytes.len() })
    }

    pub(super) fn document(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// The image with these layers; the descriptor of its manifest.
    pub(super) fn image(&self, architecture: &str, layers: &[Vec<u8>], has_zstd: bool) -> Value {
        let ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", hex_of(l))).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/bin/app"], "Cmd": ["serve"],
                        "WorkingDir": "/srv", "User": "app" },
            "rootfs": { "type": "layers", "diff_ids": ids }
        });
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<Value> = layers
            .iter()
            .enumerate()
            .map(|(number, layer)| match number % if has_zstd { 3 } else { 2 } {
                0 => self.blob("application/vnd.oci.image.layer.v1.tar", layer),
                1 => {
                    self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &packed("gzip", layer))
                }
                _ => {
                    self.blob("application/vnd.oci.image.layer.v1.tar+zstd", &packed("zstd", layer))
                }
            })
            .collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": layers });
        self.document("application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    pub(super) fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    /// A layout with one image, whose layers are compressed in all ways.
    pub(super) fn of(layers: &[Vec<u8>]) -> Self {
        Self::with(layers, true)
    }

    /// A layout with one image, for tools that do not know zstd.
    pub(super) fn old(layers: &[Vec<u8>]) -> Self {
        Self::with(layers, false)
    }

    pub(super) fn with(layers: &[Vec<u8>], has_zstd: bool) -> Self {
        let layout = Self::new();
        let mut manifest = layout.image(architecture(), layers, has_zstd);
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        layout.index(&[manifest]);
        layout
    }
}

pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
