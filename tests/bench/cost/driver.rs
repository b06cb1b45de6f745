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

use crate::host::CostHost;

/// Names the place in which this process serves, if it does.
pub(crate) const SERVE: &str = "CALF_COST_SERVE";
/// How long the driver may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running driver; killed at the end.
pub(crate) struct Driver {
    process: Child,
    socket: PathBuf,
}

impl Driver {
    /// Starts a driver whose pool, socket and log are in `place`.
    pub(crate) fn start(place: &Path) -> Self {
        for directory in ["kubelet", "baseline", "csi"] {
            fs::create_dir(place.join(directory)).expect("a directory");
        }
        let log = File::create(place.join("log")).expect("a log");
        let program = std::env::current_exe().expect("this program");
        let process = Command::new(program).env(SERVE, place).stderr(log).spawn();
        let mut driver =
            Self { process: process.expect("a process"), socket: place.join("csi/csi.sock") };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&driver.socket).is_err()
            || Client::new(&driver.socket).probe().is_err()
        {
            let ended = driver.process.try_wait().expect("a state").is_some();
            let log = || fs::read_to_string(place.join("log")).unwrap_or_default();
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

/// Serves a pool in `place`, with a template, until the process is killed. Logs and threads are those of `calf
/// serve`.
pub(crate) fn serve(place: &Path) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).json().flatten_event(true).init();
    let image = place.join("root.img");
    fs::write(&image, ext4_image(1)).expect("an image");
    let pool = PoolOptions::default()
        .host(Arc::new(CostHost::default()))
        .kata_root(place.join("kata"))
        .open(place.join("pool"))
        .expect("a pool");
    pool.import_template(&ImportSpec::new(image.as_path(), "root"), &mut |_| ())
        .expect("an import");
    let socket = place.join("csi/csi.sock");
    let config = ServeConfig::new(format!("unix://{}", socket.display()), "node-1");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve_pool(pool, config, std::future::pending())).expect("a driver");
    ExitCode::SUCCESS
}
