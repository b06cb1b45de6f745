//! A recorded boot: its requests, and their replay on a disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use super::buffer::{Buffer, LARGE, PAGE};
use super::since;

/// The requests of a real boot: see the header of the file.
const BOOT: &str = include_str!("boot.trace");

/// Replays the first `most` requests on a disk of `size` bytes, and returns the time in milliseconds.
pub(super) fn replay(device: &File, size: u64, most: usize) -> f64 {
    let mut buffer = Buffer::random();
    let mut requests = requests(BOOT);
    requests.truncate(most);
    let start = Instant::now();
    for request in &requests {
        match *request {
            Request::Read { offset, length } => {
                let offset = offset % (size - LARGE as u64);
                device.read_exact_at(&mut buffer.0[..length], offset).expect("read");
            }
            Request::Write { offset, length } => {
                let offset = offset % (size - LARGE as u64);
                device.write_all_at(&buffer.0[..length], offset).expect("write");
            }
            Request::Flush => device.sync_data().expect("sync"),
        }
    }
    since(start)
}

/// How many of the first `most` requests are writes.
pub(super) fn writes(most: usize) -> usize {
    let is_write = |request: &Request| matches!(request, Request::Write { .. });
    requests(BOOT).into_iter().take(most).filter(is_write).count()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Read { offset: u64, length: usize },
    Write { offset: u64, length: usize },
    Flush,
}

/// Parses the trace: `R <page> <pages>`, `W <page> <pages>`, `F`; `#` starts a comment. A request
/// that is larger than the buffer becomes several.
fn requests(trace: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        if kind == "F" {
            requests.push(Request::Flush);
            continue;
        }
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
        let (page, pages) = (number(), number());
        let (mut offset, end) = (page * PAGE as u64, (page + pages) * PAGE as u64);
        while offset < end {
            let length = usize::try_from(end - offset).expect("a length").min(LARGE);
            requests.push(match kind {
                "R" => Request::Read { offset, length },
                "W" => Request::Write { offset, length },
                other => panic!("the trace has a request {other:?}"),
            });
            offset += length as u64;
        }
    }
    requests
}
