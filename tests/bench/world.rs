//! The environment that all contenders share: one file system, one template.

use std::any::Any;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use calf::{ImportSpec, Pool};
use calf_test_kit::kernel;
use calf_test_kit::mapped_disk::Disk;
use calf_test_kit::real_pool::{self, Random};

use crate::raw::{Controls, Loops};
use crate::scale::Scale;
use crate::series::About;
use crate::{scale, series};

/// The name of the template in calf's pool.
pub(crate) const TEMPLATE: &str = "base";

/// A file system with an image of random bytes. The mounted disk must be dropped last.
pub(crate) struct World {
    pub(crate) scale: Scale,
    /// The template as a plain file, for contenders that need one.
    pub(crate) image: PathBuf,
    path: PathBuf,
    _disk: Box<dyn Any>,
}

impl World {
    /// A new file system with an image that has no holes.
    pub(crate) fn new() -> Self {
        let disk = kernel::pool_dir(scale::file_system());
        Self::at(disk.path().to_owned(), Box::new(disk))
    }

    /// The same on a disk that delays each request by some milliseconds.
    pub(crate) fn on_slow_disk(delay: u64) -> Self {
        let table = format!("delay {{}} 0 {delay}");
        let disk = Disk::new("slow", 0, kernel::DISK_BYTES, scale::file_system(), &table);
        Self::at(disk.path().to_owned(), Box::new(disk))
    }

    fn at(path: PathBuf, disk: Box<dyn Any>) -> Self {
        let scale = scale::scale();
        series::tell(&about(&scale, scale::file_system()));
        let image = path.join("base.img");
        write_random(&image, scale.template);
        Self { scale, image, path, _disk: disk }
    }

    /// The root directory of the file system.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory on the file system.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Creates the loop devices of the scale; dropping the returned value removes them.
    pub(crate) fn make_loops(&self) -> Loops {
        let controls = Controls::open().expect("the control devices");
        controls.make_loops(self.scale.loops).expect("loop devices")
    }

    /// calf's pool on it, with the image imported.
    pub(crate) fn pool(&self) -> Pool {
        let pool = Pool::open(self.path().join("pool")).expect("a pool");
        let spec = ImportSpec::new(&*self.image, TEMPLATE);
        pool.import_template(&spec, &mut |_| ()).expect("an import");
        pool
    }

    /// Checks whether files on the file system can share blocks, or returns why not.
    pub(crate) fn reflink(&self) -> Result<(), String> {
        let copy = self.path().join("reflink-trial");
        let target = File::create(&copy).expect("a file");
        let source = File::open(&self.image).expect("the image");
        let shared = rustix::fs::ioctl_ficlone(&target, &source);
        fs::remove_file(&copy).expect("unlink");
        shared.map_err(|error| {
            format!("files on the pool's file system cannot share blocks: {error}")
        })
    }

    /// Proves that a disk shows the template: at its start, at its end and in between.
    pub(crate) fn check(&self, device: &Path) {
        const PIECE: u64 = 1 << 20;
        const LOOKS: u64 = 4;
        let image = File::open(&self.image).expect("the image");
        let disk = real_pool::open_for_reading(device);
        let last = self.scale.template / PIECE - 1;
        for offset in (0..=LOOKS).map(|look| last * look / LOOKS * PIECE) {
            let same =
                real_pool::read_page(&disk, offset).0 == real_pool::read_page(&image, offset).0;
            assert!(same, "{} does not show the template at {offset}", device.display());
        }
    }

    /// Free bytes, after pending writes have been written and deleted files have been freed: XFS
    /// frees the blocks of a file some time after its deletion.
    pub(crate) fn free(&self) -> u64 {
        const CALM: Duration = Duration::from_millis(300);
        let look = || {
            rustix::fs::sync();
            let found = rustix::fs::statvfs(self.path()).expect("statvfs");
            found.f_bfree * found.f_frsize
        };
        let mut free = look();
        loop {
            thread::sleep(CALM);
            match look() {
                same if same == free => return free,
                other => free = other,
            }
        }
    }
}

/// The facts about this machine.
fn about(scale: &Scale, file_system: kernel::Fs) -> About {
    let kernel = rustix::system::uname();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        ["model name", "vendor_id"].contains(&key.trim()).then(|| value.trim().to_owned())
    });
    let memory = rustix::system::sysinfo();
    About {
        kernel: format!(
            "{} {}",
            kernel.sysname().to_string_lossy(),
            kernel.release().to_string_lossy()
        ),
        machine: model.unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        memory: (memory.totalram as u64 * u64::from(memory.mem_unit)) >> 20,
        file_system: file_system.name().to_owned(),
        template: scale.template >> 20,
        scale: scale.name.to_owned(),
    }
}

/// Writes `length` random bytes, in pieces that fit into a small machine's memory.
pub(crate) fn write_random(path: &Path, length: u64) {
    let mut file = File::create(path).expect("an image");
    let mut piece = vec![0; 1 << 20];
    let mut random = Random(7);
    random.fill(&mut piece);
    let mut left = length;
    while left > 0 {
        // Generating each piece completely would take longer than writing it, so only its first
        // page is unique.
        random.fill(&mut piece[..4096]);
        let part = usize::try_from(left.min(piece.len() as u64)).expect("a piece");
        file.write_all(&piece[..part]).expect("write");
        left -= part as u64;
    }
    file.sync_all().expect("sync");
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

/// A path as text: all paths of the benchmark are UTF-8.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the benchmark")
}
