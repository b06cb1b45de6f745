//! A long-running program of a run: started, watched, and stopped with the run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Result;

/// How long a program may take to end on request.
const GRACE: Duration = Duration::from_secs(20);

/// A program that runs beside the test. It ends when this value is dropped, and also when the test
/// is killed, since it dies with its parent.
pub(crate) struct Component {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Component {
    /// Starts a program, whose output goes to `<logs>/<name>.log`.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        logs: &Path,
    ) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let failed = |error: std::io::Error| format!("cannot start {name}: {error}");
        let output = File::create(&log).map_err(failed)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Fails with the end of the log if the program has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!(
                "{} has ended with {status}; {} ends with\n{}",
                self.name,
                self.log.display(),
                end_of(&self.log)
            )),
            Err(error) => Err(format!("cannot wait for {}: {error}", self.name)),
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn end_of(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
