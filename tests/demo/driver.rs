//! Runs the driver, a real `calf serve`, and manages templates with the real `calf template`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use calf::Digest;
use rustix::process::Signal;

use crate::command::{self, Process};
use crate::csi::Csi;
use crate::place::{Stage, make_directory};
use crate::{Result, stop};

pub(crate) const TEMPLATE: &str = "debian";

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(40);
const IMPORT_LIMIT: Duration = Duration::from_secs(5 * 60);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A running driver. Dropping it asks the driver to end.
pub(crate) struct Driver {
    process: Process,
}

impl Driver {
    /// Starts the driver and waits until it answers.
    pub(crate) fn start(stage: &Stage) -> Result<(Self, Csi)> {
        let socket = stage.socket();
        make_directory(socket.parent().unwrap_or(Path::new("/")))?;
        let log = stage.place.driver_log();
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let log_file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        // If the demonstration is killed, its driver ends too; the next run takes down what is
        // left.
        let mut serve = command::bound(&stage.place.calf, "TERM");
        serve.arg("serve").arg("--endpoint").arg(format!("unix://{}", socket.display()));
        serve.arg("--pool").arg(&stage.pool).args(["--node-id", "demo-node"]);
        let streams = Some((Stdio::null(), log_file.into()));
        let mut driver = Self { process: Process::start(serve, streams)? };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(csi) = Csi::connect(&socket) {
                return Ok((driver, csi));
            }
            if let Some(status) = driver.process.ended()? {
                return Err(format!("calf serve exited early ({status}): see {}", log.display()));
            }
            if Instant::now() > deadline {
                return Err(format!("calf serve did not answer in time: see {}", log.display()));
            }
            stop::check()?;
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM, after which the driver must end successfully.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Instant::now() + STOP_LIMIT)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("calf serve did not exit cleanly: {status}"))
        }
    }
}

/// `calf template import`: shows its progress, and returns its last message.
pub(crate) fn import(stage: &Stage, progress: &mut dyn FnMut(&str)) -> Result<String> {
    let mut import = calf(stage);
    import.args(["template", "import"]).arg(&stage.image).args(["--name", TEMPLATE]);
    let mut said = String::new();
    command::run(import, IMPORT_LIMIT, &mut |line| {
        if line.contains(" % ") { progress(line) } else { said = line.to_owned() }
    })?;
    Ok(said)
}

pub(crate) fn remove_template(stage: &Stage, name: &str) -> Result<String> {
    let mut remove = calf(stage);
    remove.args(["template", "remove", name]);
    command::output(remove, COMMAND_LIMIT)
}

/// Makes so many volumes from what `volume` holds; returns their devices.
pub(crate) fn fork(stage: &Stage, volume: &str, count: u32) -> Result<Vec<PathBuf>> {
    let mut fork = calf(stage);
    fork.args(["volume", "fork", volume, "--count", &count.to_string(), "--activate"]);
    Ok(command::output(fork, COMMAND_LIMIT)?.lines().map(PathBuf::from).collect())
}

/// Makes a template of what `volume` holds; returns what the command says.
pub(crate) fn commit(stage: &Stage, volume: &str, name: &str) -> Result<String> {
    let mut commit = calf(stage);
    commit.args(["template", "commit", "--volume", volume, "--name", name]);
    command::output(commit, COMMAND_LIMIT)
}

/// Creates a volume; returns its device.
pub(crate) fn create(stage: &Stage, volume: &str, template: &str) -> Result<PathBuf> {
    let mut create = calf(stage);
    create.args(["volume", "create", volume, "--template", template, "--activate"]);
    command::output(create, COMMAND_LIMIT).map(PathBuf::from)
}

pub(crate) fn delete(stage: &Stage, volumes: &[String]) -> Result<()> {
    let mut delete = calf(stage);
    delete.args(["volume", "delete"]).args(volumes);
    command::output(delete, COMMAND_LIMIT).map(drop)
}

/// The template's digest.
pub(crate) fn template_digest(stage: &Stage) -> Result<Digest> {
    let mut inspect = calf(stage);
    inspect.args(["template", "inspect", TEMPLATE, "--output", "json"]);
    let text = command::output(inspect, COMMAND_LIMIT)?;
    let view = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let digest = view["digest"].as_str().and_then(|digest| Digest::parse(digest).ok());
    digest.ok_or_else(|| format!("calf template inspect printed {text}"))
}

fn calf(stage: &Stage) -> Command {
    let mut calf = Command::new(&stage.place.calf);
    calf.arg("--pool").arg(&stage.pool);
    calf
}
