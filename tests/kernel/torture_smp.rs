//! The fault run for two CPUs: many workers make random calls on the same volumes, through two
//! drivers on one pool and the command line. Nothing may hang or leak, no answer may be wrong, and
//! `ABORTED` is allowed only for a volume on which another operation was actually running, which
//! the workers know.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::{Client, Driver, Usage};
use calf_test_kit::fault_run::{Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Random, Rig, TEMPLATE_SIZE};
use tonic::{Code, Status};

fn main() -> ExitCode {
    let limit = Duration::from_secs(count(600, 3600));
    kernel::main(vec![kernel::test("a_crowd_breaks_nothing", crowd).timeout(limit)])
}

/// The workers' knowledge of a volume: how many calls are running, and how many have ever begun.
#[derive(Default)]
struct Traffic {
    running: AtomicU64,
    begun: AtomicU64,
}

fn crowd() {
    let seed = seed();
    let tally = Tally::new("concurrency: random calls, two drivers, the command line", seed);
    let (workers, volumes) = (count(12, 64), count(24, 200));
    let duration = Duration::from_secs(count(15, 600));
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let drivers = Driver::old_and_new(rig.pool.root(), &kernel::work_dir());
    let client = drivers[0].client();
    client.create("first", "root").and_then(|()| client.delete("first")).expect("a volume");
    let at_rest = Inventory::take(rig.pool.root());
    let usages: Vec<(Usage, Traffic)> = (0..volumes)
        .map(|n| {
            let usage = Usage::new(&format!("volume-{n}"), &rig.path(""), n % 4 != 0);
            fs::create_dir_all(&usage.staging).expect("as kubelet does");
            (usage, Traffic::default())
        })
        .collect();
    let answers = Answers::default();
    let end = Instant::now() + duration;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let mut random = Random(random.next());
            let (tally, drivers, usages, answers) = (&tally, &drivers, &usages, &answers);
            scope.spawn(move || {
                let clients = drivers.each_ref().map(Driver::client);
                while Instant::now() < end && !tally.hopeless() {
                    let (usage, traffic) = &usages[random.below(volumes) as usize];
                    let client = &clients[random.below(2) as usize];
                    one_call(tally, client, usage, traffic, &mut random, answers);
                }
            });
        }
        let pool = rig.pool.root().to_owned();
        let mut random = Random(random.next());
        let (tally, usages) = (&tally, &usages);
        scope.spawn(move || {
            while Instant::now() < end && !tally.hopeless() {
                let (usage, traffic) = &usages[random.below(volumes) as usize];
                command(tally, &pool, &usage.volume, traffic, &mut random);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
    });
    answers.print();
    for (usage, _) in &usages {
        let ended = client.end(usage);
        tally.expect(ended, || format!("the end of {}", usage.volume));
    }
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(left);
    }
    for driver in drivers {
        tally.promise(driver.stop().success(), || "a driver did not end well".into());
    }
    tally.finish();
}

/// Makes one random call, and checks whether its answer is allowed.
fn one_call(
    tally: &Tally,
    client: &Client,
    usage: &Usage,
    traffic: &Traffic,
    random: &mut Random,
    answers: &Answers,
) {
    let (name, call): (_, &dyn Fn() -> Result<(), Status>) = match random.below(14) {
        0..3 => ("create", &|| client.create(&usage.volume, "root")),
        3..5 => ("stage", &|| client.stage(usage)),
        5..8 => ("publish", &|| client.publish(usage)),
        8 => ("expand", &|| client.expand(usage, 2 * TEMPLATE_SIZE)),
        9..11 => ("unpublish", &|| client.unpublish(usage)),
        11 => ("condition", &|| client.condition(usage).map(drop)),
        12 => ("unstage", &|| client.unstage(usage)),
        _ => ("delete", &|| client.delete(&usage.volume)),
    };
    let (result, alone) = traffic.watch(call);
    let code = result.as_ref().map_or_else(Status::code, |()| Code::Ok);
    tally.tried();
    answers.count(name, code);
    let possible = match code {
        Code::Ok => true,
        Code::Aborted => !alone,
        // The volume does not exist, or is not at the path, at this moment.
        Code::NotFound => matches!(name, "stage" | "publish" | "expand" | "condition"),
        // The volume is staged or published at this moment.
        Code::FailedPrecondition => matches!(name, "delete" | "unstage"),
        // A volume that was expanded is requested without a size, which is allowed.
        _ => false,
    };
    tally.promise(possible, || {
        let id = &usage.volume;
        format!(
            "{name} of {id}, alone: {alone}: {:?}",
            result.err().map(|s| s.message().to_owned())
        )
    });
}

impl Traffic {
    /// Runs a call, and returns whether no other call ran on this volume at any time during it.
    fn watch<T>(&self, call: impl FnOnce() -> T) -> (T, bool) {
        let others = self.running.fetch_add(1, Ordering::SeqCst);
        let before = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = call();
        let alone = others == 0 && self.begun.load(Ordering::SeqCst) == before;
        self.running.fetch_sub(1, Ordering::SeqCst);
        (result, alone)
    }
}

/// The command line beside the drivers.
fn command(tally: &Tally, pool: &PathBuf, id: &str, traffic: &Traffic, random: &mut Random) {
    let (arguments, codes): (&[&str], &[i32]) = match random.below(5) {
        0 => (&["volume", "list"], &[0]),
        1 => (&["status"], &[0]),
        2 => (&["volume", "inspect", id], &[0, 3]),
        3 => (&["volume", "create", id, "--template", "root"], &[0, 6]),
        // In use, or locked by another call.
        _ => (&["volume", "delete", id], &[0, 5, 6]),
    };
    let (output, alone) = traffic.watch(|| {
        Command::new(env!("CARGO_BIN_EXE_calf"))
            .args(arguments)
            .env("CALF_POOL", pool)
            .stdin(Stdio::null())
            .output()
            .expect("start calf")
    });
    let code = output.status.code().unwrap_or(-1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let possible = codes.contains(&code) && !(code == 6 && alone);
    tally.promise(possible, || format!("calf {arguments:?}, alone: {alone}: {code}: {said}"));
    tally.tried();
}

/// How often each call got each answer.
#[derive(Default)]
struct Answers(Mutex<std::collections::BTreeMap<(&'static str, String), u64>>);

impl Answers {
    fn count(&self, name: &'static str, code: Code) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *all.entry((name, format!("{code:?}"))).or_default() += 1;
    }

    fn print(&self) {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for ((name, code), count) in &*all {
            println!("{name:>10} {code:<20} {count:>7}");
        }
    }
}
