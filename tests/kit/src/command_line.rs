//! Running the real binary in a pool of its own.
#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use calf::Key;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::built;

/// A directory for a pool that does not exist yet.
pub struct TestEnv {
    directory: TempDir,
}

/// The result of a run of the binary.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestEnv {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn pool(&self) -> PathBuf {
        self.path("pool")
    }

    /// The command, without the variables of the caller's environment that affect it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built::calf());
        command.args(arguments).env_clear().env("CALF_POOL", self.pool());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
        run
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let run = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// An image of `size` bytes with data in its first `data` bytes, all pages different, old
    /// enough for its time stamps to be trusted.
    pub fn image(&self, name: &str, size: u64, data: u64) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        let mut page = [0x5A; 4096];
        for (number, at) in (0..data).step_by(4096).enumerate() {
            page[..8].copy_from_slice(&number.to_le_bytes());
            file.write_all_at(&page[..4096.min((data - at) as usize)], at).unwrap();
        }
        std::thread::sleep(Duration::from_millis(150));
        path
    }

    /// Writes the record of a volume that wrote `used` bytes, as the engine does; creating a volume
    /// needs a kernel. The pool must exist.
    pub fn volume(&self, id: &str, size: u64, created: &str, used: u64) {
        let directory = self.pool().join("volumes").join(Key::of(id).as_str());
        fs::create_dir_all(&directory).unwrap();
        let record = serde_json::json!({
            "id": id, "template": "base", "digest": "0a".repeat(32), "templateSize": 1 << 20,
            "fsType": null, "size": size, "cowLimit": null, "chunkSize": 4096,
            "durability": "durable", "owner": { "uid": 0, "gid": 0, "mode": 384 },
            "backing": "copy", "inline": false, "boot": "b", "created": created,
        });
        fs::write(directory.join("volume.json"), record.to_string()).unwrap();
        fs::write(directory.join("disk"), vec![1; usize::try_from(used).unwrap()]).unwrap();
    }

    /// The names in the pool's directory of content, in order.
    pub fn images(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pool().join("images")).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The content of a template, in the pool.
    pub fn content(&self, template: &str) -> PathBuf {
        let record = self.json(&["template", "inspect", template]);
        let digest = record["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        self.pool().join("images").join(digest).join("image")
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}
