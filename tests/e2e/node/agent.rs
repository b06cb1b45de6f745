//! The agent that takes commands on the node: one shell script and one answer per connection.
//!
//! It runs outside all pods, so that a test sees and does what an administrator of the node would.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;

/// Set in the agent, to the address where it listens.
pub(super) const LISTEN: &str = "CALF_NODE_ADDRESS";
pub(super) const PORT: u16 = 1022;

/// The output of a script, and its exit code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    /// The exit code, or -1 if a signal ended the script.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Serves for ever.
pub(super) fn serve(address: &str) -> ExitCode {
    let listener = match TcpListener::bind((address, PORT)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("the node's agent cannot listen on {address}:{PORT}: {error}");
            return ExitCode::FAILURE;
        }
    };
    for connection in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = answer(connection) {
                eprintln!("the node's agent cannot answer: {error}");
            }
        });
    }
    ExitCode::SUCCESS
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    if BufReader::new(connection.try_clone()?).read_line(&mut request)? == 0 {
        // A client only checked whether the agent listens.
        return Ok(());
    }
    let script: String = serde_json::from_str(&request)?;
    let done = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output = Output {
        code: done.status.code().unwrap_or(-1),
        stdout: text(&done.stdout),
        stderr: text(&done.stderr),
    };
    connection.write_all(&serde_json::to_vec(&output)?)
}

/// From the machine's end of the link: makes the agent at `address` run `script`.
pub(super) fn call(address: &str, script: &str, limit: Duration) -> Result<Output> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            format!("the node did not finish within {} s: {script}", limit.as_secs())
        }
        _ => format!("cannot reach the node at {address}:{PORT}: {error}"),
    };
    let mut connection = connect(address).map_err(failed)?;
    connection.set_read_timeout(Some(limit)).map_err(failed)?;
    let mut request = serde_json::to_vec(script).map_err(|error| error.to_string())?;
    request.push(b'\n');
    connection.write_all(&request).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).map_err(failed)?;
    serde_json::from_str(&answer).map_err(|error| format!("the node answered {answer:?}: {error}"))
}

/// Whether an agent listens at `address` yet.
pub(super) fn is_up(address: &str) -> bool {
    connect(address).is_ok()
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address = format!("{address}:{PORT}").parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(10))
}
