//! The reference registry, as a process on loopback with an empty storage.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use calf_test_kit::built;

/// User and password of a registry that asks for them; bcrypt's hash of the password.
pub(crate) const USER: &str = "team";
pub(crate) const PASSWORD: &str = "secret";
const HASH: &str = "$2b$05$sd21ySnDWGuopXWe/94jpe4mk4K.YHsxoyhFngNK2h3K11Bxf9NE6";

/// Where `make` puts the registry.
pub(crate) fn program() -> PathBuf {
    built::tools_dir().join("registry")
}

/// A running registry. Dropping it ends it.
pub(crate) struct Registry {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    /// A registry that everybody may use.
    pub(crate) fn open() -> Self {
        Self::start("")
    }

    /// A registry that asks for a user and a password.
    pub(crate) fn closed() -> Self {
        Self::start("auth: {htpasswd: {realm: calf, path: htpasswd}}\n")
    }

    fn start(auth: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "version: 0.1\n\
             log: {{level: info, formatter: text}}\n\
             storage: {{filesystem: {{rootdirectory: storage}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:0', secret: of-tests}}\n{auth}"
        );
        fs::write(directory.path().join("config.yml"), config).expect("a configuration");
        fs::write(directory.path().join("htpasswd"), format!("{USER}:{HASH}\n")).expect("a user");
        // It ends with this process, whatever ends that.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program())
            .args(["serve", "config.yml"])
            .current_dir(directory.path())
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the registry starts");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let (sender, address) = mpsc::channel();
        // Read to its end, so that the registry never waits for a reader.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some(address) = listening(&line) {
                    let _ = sender.send(address);
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(60)).expect("the registry listens");
        Self { process, address, _directory: directory }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in the line of the log that tells it.
fn listening(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    Some(address)
}
