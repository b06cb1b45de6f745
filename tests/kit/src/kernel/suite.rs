//! The tests of one file, and their requirements for the kernel.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Arguments;

use super::environment::{self, Kernel};
use super::{guest, host};

/// How long a test may take by default.
const LIMIT: Duration = Duration::from_secs(120);

/// Every module that calf's tests may need, unless it is built in.
const MODULES: [&str; 6] = ["loop", "ext4", "xfs", "btrfs", "overlay", "virtio_blk"];
const DEVICE_MAPPER_MODULES: [&str; 5] =
    ["dm-mod", "dm-snapshot", "dm-zero", "dm-flakey", "dm-delay"];

/// One test: a name and a function that panics to fail.
#[derive(Clone, Copy)]
pub struct Test {
    pub(crate) name: &'static str,
    pub(crate) limit: Duration,
    body: fn(),
}

/// A test that may take two minutes.
pub fn test(name: &'static str, body: fn()) -> Test {
    Test { name, limit: LIMIT, body }
}

impl Test {
    /// The same test with another time limit, which is for a real CPU; under emulation the limit is
    /// longer.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }
}

/// The tests of one file.
#[derive(Clone)]
pub struct Suite {
    pub(crate) tests: Vec<Test>,
    pub(crate) modules: Vec<String>,
    pub(crate) optional_modules: Vec<String>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) tools: Vec<&'static str>,
    pub(crate) device_mapper: bool,
    pub(crate) alone: bool,
    pub(crate) listener: Option<fn(&str)>,
}

impl Suite {
    pub fn new(tests: Vec<Test>) -> Self {
        let modules = MODULES.map(String::from).into();
        Self {
            tests,
            modules,
            optional_modules: Vec::new(),
            files: Vec::new(),
            tools: Vec::new(),
            device_mapper: true,
            alone: false,
            listener: None,
        }
    }

    /// In a kernel in which device-mapper is not loaded.
    pub fn without_device_mapper(mut self) -> Self {
        self.device_mapper = false;
        self
    }

    /// In one kernel, one test after the other, so that none disturbs what another measures.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// With one more kernel module.
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.into());
        self
    }

    /// With one more kernel module if the kernel has it; tests must check whether it is available.
    pub fn optional_module(mut self, name: &str) -> Self {
        self.optional_modules.push(name.into());
        self
    }

    /// With one more file or program of this machine in the guest, at its own path. (User-Mode
    /// Linux sees them all anyway; the `calf` binary is always there.)
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// With one more program of [`tools_dir`](crate::built::tools_dir) in the guest.
    pub fn tool(mut self, name: &'static str) -> Self {
        self.tools.push(name);
        self
    }

    /// With a listener on the host for each line that a test writes, as it arrives.
    pub fn listener(mut self, listener: fn(&str)) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Runs the suite as `CALF_KERNEL` and the command line demand.
    pub fn run(mut self) -> ExitCode {
        let kernel = match Kernel::from_environment() {
            Ok(kernel) => kernel,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        if self.device_mapper {
            self.modules.extend(DEVICE_MAPPER_MODULES.map(String::from));
        }
        match kernel {
            Kernel::Init => guest::serve(),
            Kernel::OneTest => self.run_one(),
            kernel => host::run(kernel, self, &Arguments::from_args()),
        }
    }

    /// Runs in the process of one test: a panic ends it with a distinct exit code.
    fn run_one(self) -> ExitCode {
        let name = std::env::var(environment::TEST).unwrap_or_default();
        let Some(test) = self.tests.iter().find(|test| test.name == name) else {
            eprintln!("there is no test {name:?}");
            return ExitCode::FAILURE;
        };
        (test.body)();
        ExitCode::SUCCESS
    }
}
