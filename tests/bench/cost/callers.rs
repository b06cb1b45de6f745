//! Callers at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::Client;

use crate::Places;
use crate::driver::Driver;
use crate::work::Work;

/// One round of one kind of work.
pub(crate) struct Round {
    /// For each volume, how long each part took.
    pub(crate) lives: Vec<Vec<Duration>>,
    /// From the start of the first caller to the end of the last.
    pub(crate) whole: Duration,
}

/// Has `callers` share the work for `volumes` volumes.
pub(crate) fn measure(
    driver: &Driver,
    places: &Places<'_>,
    work: Work,
    callers: usize,
    volumes: usize,
) -> Round {
    let start = Barrier::new(callers + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|caller| {
                let start = &start;
                scope.spawn(move || {
                    let client = Client::new(driver.socket());
                    // Connects, and warms the driver's threads up.
                    client.node_info().expect("an answer");
                    start.wait();
                    let share = (caller..volumes).step_by(callers);
                    share
                        .map(|volume| work.once(&client, places, &format!("volume-{volume}")))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        let lives = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no caller fails"))
            .collect();
        Round { lives, whole: begin.elapsed() }
    })
}
