//! The driver is killed before each change that it makes to the machine, in turn: between any two
//! steps of each operation. After a restart nothing may be orphaned, no live volume may be
//! affected, and the volume's life must continue to its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use calf::csi::ServeConfig;
use calf::{PoolOptions, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{self, Client, Driver, Usage};
use calf_test_kit::fault_run::{Inventory, Tally};
use calf_test_kit::kernel;
use calf_test_kit::killing_host::KillingHost;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, read_page};
use tonic::Status;

/// Makes this program a driver: the pool, the work directory and the change to die at.
const BE_A_DRIVER: &str = "CALF_TEST_DRIVER";

/// The seed of the written data; nothing else is random here.
const SEED: u64 = 37;

fn main() -> ExitCode {
    if let Ok(order) = std::env::var(BE_A_DRIVER) {
        return be_a_driver(&order);
    }
    let long = Duration::from_secs(900);
    kernel::main(vec![
        kernel::test("a_block_volume_survives_a_kill_between_any_two_steps", || {
            survives("block", |directory| Usage::new("volume", directory, true));
        })
        .timeout(long),
        kernel::test("a_mounted_volume_survives_a_kill_between_any_two_steps", || {
            survives("mounted", |directory| Usage::new("volume", directory, false));
        })
        .timeout(long),
        kernel::test("a_volume_for_kata_survives_a_kill_between_any_two_steps", || {
            survives("kata", |directory| Usage::new("volume", directory, false).kata());
        })
        .timeout(long),
        kernel::test("a_readers_volume_survives_a_kill_between_any_two_steps", || {
            survives("reader", |directory| Usage::new("volume", directory, true).read_only());
        })
        .timeout(long),
    ])
}

/// Serves the pool until the `n`-th change, at which the process dies. 0 means never.
fn be_a_driver(order: &str) -> ExitCode {
    let [pool, work, n] = order.split('\n').collect::<Vec<_>>()[..] else {
        panic!("not an order: {order:?}");
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter("debug")
        .init();
    let host = KillingHost::new(n.parse().expect("a number"));
    let kata = kata_root(Path::new(work));
    let options = PoolOptions::default().host(Arc::new(host)).kata_root(kata);
    let pool = options.open(pool).expect("a pool");
    let endpoint = format!("unix://{}", driver_process::socket(Path::new(work)).display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let served = runtime.block_on(calf::csi::serve(
        pool,
        ServeConfig::new(endpoint, "node-1"),
        std::future::pending(),
    ));
    panic!("the driver ended: {served:?}");
}

/// Where Kata would look for the volumes of a driver in `work`.
fn kata_root(work: &Path) -> PathBuf {
    work.join("kata")
}

fn start(pool: &Path, work: &Path, dies_at: u64) -> Driver {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let order = format!("{}\n{}\n{dies_at}", pool.display(), work.display());
    command.env(BE_A_DRIVER, order);
    Driver::spawn(command, work)
}

/// A volume's whole life, until a call fails.
fn live(client: &Client, usage: &Usage) -> Result<(), Status> {
    client.create_for(usage, "root")?;
    client.stage(usage)?;
    client.publish(usage)?;
    client.expand(usage, 2 * TEMPLATE_SIZE)?;
    end(client, usage)
}

fn end(client: &Client, usage: &Usage) -> Result<(), Status> {
    client.unpublish(usage)?;
    client.unstage(usage)?;
    client.delete(&usage.volume)
}

/// Each disagreement ends the test immediately: later steps would not show more.
fn survives(usage_name: &str, usage: fn(&Path) -> Usage) {
    let tally = Tally::new(&format!("crash: kill -9 at each step ({usage_name})"), SEED);
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let bystander = rig.open(&VolumeSpec::new("bystander", "root"));
    let at_rest = Inventory::of_kernel();
    let work = kernel::work_dir();
    let usage = usage(rig.path("").as_path());
    fs::create_dir_all(&usage.staging).expect("as kubelet does");
    let mut random = Random(SEED);

    let mut n = 1;
    loop {
        let mut driver = start(rig.pool.root(), &work, n);
        let lived = live(&driver.client(), &usage);
        if lived.is_ok() {
            driver.kill();
            break;
        }
        assert!(driver.has_died(), "change {n}: {lived:?}\n{}", driver.log());

        // A restart alone puts everything in order.
        let driver = start(rig.pool.root(), &work, 0);
        for volume in rig.pool.volumes().expect("volumes") {
            let state = volume.state;
            assert_ne!(state, VolumeState::Interrupted, "change {n}: {volume:?}\n{}", driver.log());
        }
        let names: BTreeSet<String> =
            rig.pool.volume_records().expect("records").into_iter().map(|r| r.id).collect();
        let kernel = Inventory::of_kernel();
        if !names.contains("volume") {
            assert_eq!(kernel, at_rest, "change {n}: an orphan");
        }
        notices_nothing(&bystander, &mut random);

        // The orchestrator continues: sometimes it tears down, sometimes it starts again.
        let client = driver.client();
        let went_on = if n % 2 == 0 { end(&client, &usage) } else { live(&client, &usage) };
        went_on.unwrap_or_else(|error| panic!("change {n}: {error:?}\n{}", driver.log()));
        assert_eq!(Inventory::of_kernel(), at_rest, "change {n}: a leak");
        assert_eq!(rig.pool.volume_records().expect("records").len(), 1, "change {n}");
        assert!(!usage.target.exists(), "change {n}: the target is left");
        let for_kata = fs::read_dir(kata_root(&work)).map_or(0, Iterator::count);
        assert_eq!(for_kata, 0, "change {n}: Kata is still told of a volume");
        driver.kill();
        tally.tried();
        n += 1;
    }
    assert!(n > 18, "only {n} changes: the driver did not do its work");
    assert_eq!(Inventory::of_kernel(), at_rest);
    drop(bystander);
    rig.pool.volume("bystander").expect("a volume id").delete().expect("delete");
    tally.finish();
}

/// A live volume reads what was written to it.
fn notices_nothing(device: &File, random: &mut Random) {
    let page = Page::random(random);
    let offset = random.below(TEMPLATE_SIZE / 4096) * 4096;
    device.write_all_at(&page.0, offset).expect("write");
    assert!(read_page(device, offset).0 == page.0);
}
