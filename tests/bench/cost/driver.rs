//! The driver under test: this program again, in a process of its own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use calf::csi::{ServeConfig, serve as serve_pool};
use calf::{ImportSpec, PoolOptions};
use calf_test_kit::driver_process::Client;
use calf_test_kit::simulated_pool::ext4_image;

use crate::Places;
use crate::host::CostHost;

/// Name the places in which this process serves, if it does.
pub(crate) const SERVE: [&str; 2] = ["CALF_COST_SERVE_POOL", "CALF_COST_SERVE_REST"];
/// How long the driver may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running driver; killed at the end.
pub(crate) struct Driver {
    process: Child,
    socket: PathBuf,
}

impl Driver {
    /// Starts a driver in these places.
    pub(crate) fn start(places: &Places<'_>) -> Self {
        let Places { pool, rest } = places;
        for directory in [pool.join("baseline"), rest.join("kubelet"), rest.join("csi")] {
            fs::create_dir(directory).expect("a directory");
        }
        let log = File::create(rest.join("log")).expect("a log");
        let program = std::env::current_exe().expect("this program");
        let process =
            Command::new(program).env(SERVE[0], pool).env(SERVE[1], rest).stderr(log).spawn();
        let mut driver =
            Self { process: process.expect("a process"), socket: rest.join("csi/csi.sock") };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&driver.socket).is_err()
            || Client::new(&driver.socket).probe().is_err()
        {
            let ended = driver.process.try_wait().expect("a state").is_some();
            let log = || fs::read_to_string(rest.join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < deadline, "no driver:\n{}", log());
            thread::sleep(Duration::from_millis(5));
        }
        driver
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves a pool in these places, with a template, until the process is killed. Logs and threads are those of `calf
/// serve`.
pub(crate) fn serve(places: &Places<'_>) -> ExitCode {
    let Places { pool, rest } = places;
    tracing_subscriber::fmt().with_writer(std::io::stderr).json().flatten_event(true).init();
    let image = rest.join("root.img");
    fs::write(&image, ext4_image(1)).expect("an image");
    let opened = PoolOptions::default()
        .host(Arc::new(CostHost::default()))
        .kata_root(rest.join("kata"))
        .open(pool.join("pool"))
        .expect("a pool");
    opened
        .import_template(&ImportSpec::new(image.as_path(), "root"), &mut |_| ())
        .expect("an import");
    let socket = rest.join("csi/csi.sock");
    let config = ServeConfig::new(format!("unix://{}", socket.display()), "node-1");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve_pool(opened, config, std::future::pending())).expect("a driver");
    ExitCode::SUCCESS
}
