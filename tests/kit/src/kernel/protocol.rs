//! The messages between host and guest: one JSON document per line, over a serial line.
//!
//! The guest sends [`Reply::Hello`] when it is ready. Lines that are not JSON come from the kernel
//! and belong to the console.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    SetUp(SetUp),
    Run(Run),
    /// Write to the console what every thread waits for.
    ExplainHang,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SetUp {
    /// Directory with `modules.dep`.
    pub modules_dir: PathBuf,
    pub modules: Vec<String>,
    /// Paths that must stay visible: nothing is mounted over a directory above them.
    pub keep: Vec<PathBuf>,
}

/// One test to run, in a process of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub test: String,
    pub environment: Vec<(String, String)>,
    pub current_dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Hello,
    Ready,
    /// The set-up failed; nothing can run.
    Unable(String),
    /// What the running test wrote to its standard output and error.
    Output(String),
    Done(Report),
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub outcome: Outcome,
    /// What it left behind, one line each.
    pub leaks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Passed,
    /// With this exit status, in words.
    Failed(String),
    /// By this signal.
    Killed(i32),
    /// It requests a crash of the machine, and another run after the reboot.
    Reboot,
}

pub(crate) fn send(to: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}
