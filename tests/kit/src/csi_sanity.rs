//! Runs csi-sanity, the conformance suite of the CSI community, against `calf serve`.
//!
//! `make deps` installs it (tests/go-tool.sh) at a pinned version.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::driver_process::Driver;
use crate::{built, kernel};

/// The suite, as a [tool](kernel::Suite::tool) of a test kernel.
pub const PROGRAM: &str = "csi-sanity";

/// The suite takes a few seconds, on a busy machine a minute.
pub const LIMIT: Duration = Duration::from_secs(5 * 60);

const TEMPLATE: &str = "sanity";
const TEMPLATE_BYTES: u64 = 64 << 20;
const VOLUME_BYTES: u64 = 128 << 20;
const EXPANDED_BYTES: u64 = 192 << 20;

/// Fewer specs than these mean that the suite skipped specs that it should have run: on private copies, and on
/// volumes that can have snapshots.
const FEWEST_SPECS: (u32, u32) = (46, 74);

/// Why specs are skipped: starts of the suite's words for what this driver does not offer.
const NOT_OFFERED: [&str; 8] = [
    "Controller Publish, UnpublishVolume not",
    "ControllerPublishVolume not",
    "ControllerUnpublishVolume not",
    "ControllerExpandVolume not",
    "ControllerModifyVolume not",
    "GroupControllerService not",
    "Modify volume not",
    "Modify Volume not",
];
/// What it does not offer for private copies.
const NOT_OF_COPIES: [&str; 7] = [
    "CreateSnapshot not",
    "DeleteSnapshot not",
    "GetSnapshot not",
    "ListSnapshots not",
    "Snapshot not",
    "Volume Cloning not",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not",
];

/// The suite compares what the driver told with what it asked for, together with what Go keeps beside a message,
/// so that no driver passes. `csi::snapshots` tests what it means to.
const UNSOUND_SPEC: &str =
    "should succeed when creating a snapshot with accessibility requirements";

/// How to run the driver under test, and how to use its volumes.
pub struct Sanity {
    /// `block` or `mount`.
    pub access: &'static str,
    pub pool: kernel::Fs,
    /// `copy` or `reflink`; `None` with device-mapper.
    pub fallback: Option<&'static str>,
}

/// The path at which the suite is installed.
pub fn program() -> PathBuf {
    built::tools_dir().join(PROGRAM)
}

impl Sanity {
    /// Panics unless the driver passes every spec that its capabilities enable, ends cleanly on
    /// SIGTERM, and leaves no volume and no snapshot.
    pub fn passes(&self) {
        let program = program();
        assert!(program.exists(), "{} is missing: run `make deps`", program.display());
        let pool = kernel::pool_dir(self.pool);
        import_template(pool.path());

        let options: &[&str] = match self.fallback {
            Some(fallback) => &["--fallback", fallback],
            None => &[],
        };
        let driver = Driver::start(pool.path(), &kernel::work_dir(), options);
        let output = self.run_suite(&program, driver.socket());
        let summary = summary(&output.text);
        println!("csi-sanity {}: {summary}", self.access);
        if !output.status.success() {
            panic!("csi-sanity failed\n{}\nthe driver's log:\n{}", output.text, driver.log());
        }
        let specs = specs_run(&output.text);
        let fewest = if self.fallback.is_some() { FEWEST_SPECS.0 } else { FEWEST_SPECS.1 };
        assert!(specs >= fewest, "only {specs} specs ran: {summary}");
        let skipped: Vec<&str> = skipped(&output.text).filter(|why| !self.may_skip(why)).collect();
        assert!(skipped.is_empty(), "specs were skipped: {skipped:?}");

        let log = driver.log();
        let status = driver.stop();
        assert!(status.success(), "calf serve ended with {status}:\n{log}");
        for kind in ["volumes", "snapshots"] {
            let entries = fs::read_dir(pool.path().join(kind)).into_iter().flatten();
            let left: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            assert!(left.is_empty(), "{kind} are left in the pool: {left:?}");
        }
    }

    fn may_skip(&self, why: &str) -> bool {
        let copies = NOT_OF_COPIES.iter().filter(|_| self.fallback.is_some());
        NOT_OFFERED.iter().chain(copies).any(|it| why.starts_with(it))
    }

    fn run_suite(&self, program: &Path, socket: &Path) -> SuiteOutput {
        let work = kernel::work_dir();
        let parameters = work.join("parameters.yaml");
        fs::write(&parameters, format!("template: {TEMPLATE}\n")).expect("write the parameters");
        let output = Command::new(program)
            .arg("--ginkgo.no-color")
            .arg("--ginkgo.v")
            .arg(format!("--ginkgo.skip={UNSOUND_SPEC}"))
            .arg(format!("--csi.endpoint=unix://{}", socket.display()))
            .arg(format!("--csi.testvolumeaccesstype={}", self.access))
            .arg(format!("--csi.testvolumeparameters={}", parameters.display()))
            .arg(format!("--csi.testvolumesize={VOLUME_BYTES}"))
            .arg(format!("--csi.testvolumeexpandsize={EXPANDED_BYTES}"))
            // The suite makes and removes these two.
            .arg(format!("--csi.mountdir={}", work.join("target").display()))
            .arg(format!("--csi.stagingdir={}", work.join("staging").display()))
            .output()
            .expect("start csi-sanity");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        SuiteOutput { status: output.status, text }
    }
}

struct SuiteOutput {
    status: ExitStatus,
    text: String,
}

/// A small ext4 file system as the template that all volumes start from.
fn import_template(pool: &Path) {
    let image = kernel::work_dir().join("template.img");
    File::create(&image).expect("create").set_len(TEMPLATE_BYTES).expect("extend");
    succeeds(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).arg(&image));
    succeeds(
        Command::new(built::calf())
            .args(["template", "import"])
            .arg(&image)
            .args(["--name", TEMPLATE, "--pool"])
            .arg(pool),
    );
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

// === the suite's closing lines: "Ran 71 of 92 Specs in 3.1 seconds", "SUCCESS! -- 71 Passed | ..." ===

fn summary(output: &str) -> String {
    let closing = |line: &&str| line.starts_with("Ran ") || line.contains(" Passed | ");
    output.lines().filter(closing).collect::<Vec<_>>().join("; ")
}

/// Why specs were skipped, as a verbose suite tells after each.
fn skipped(output: &str) -> impl Iterator<Item = &str> {
    let reasons = output.lines().filter_map(|line| line.strip_prefix("  [SKIPPED] "));
    reasons.filter(|reason| !reason.starts_with("in ["))
}

fn specs_run(output: &str) -> u32 {
    let line = output.lines().find_map(|line| line.strip_prefix("Ran "));
    line.and_then(|rest| rest.split(' ').next()).and_then(|count| count.parse().ok()).unwrap_or(0)
}
