//! Ensures that a kernel does not outlive the process that booted it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Kills a kernel whose host died: a kernel must not outlive this process, however it ends, and
/// User-Mode Linux consists of several processes.
pub struct Guard(Child);

impl Guard {
    pub fn over(kernel: &Child) -> Result<Self, String> {
        // The shell's standard input is a pipe from us, and ends with us.
        let guard = Command::new("sh")
            .args(["-c", r#"read -r _; kill -s KILL -- "-$1""#, "sh", &kernel.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        guard.map(Self).map_err(|error| format!("cannot start sh: {error}"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_kernel_ends_with_its_host() {
        let mut kernel = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let mut guard = Guard::over(&kernel).unwrap();
        // Simulates the end of this process: its end of the pipe closes.
        drop(guard.0.stdin.take());
        assert_eq!(kernel.wait().unwrap().signal(), Some(9));
    }
}
