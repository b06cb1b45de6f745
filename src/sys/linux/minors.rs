//! The minor number of the next device-mapper device.
//!
//! The kernel would take the lowest number that is free: a copy of a device's node that stayed behind in a
//! jail would soon be another tenant's disk. So calf gives its devices numbers in ascending order, and starts
//! over only after the last one.
//!
//! The length of a file in `/dev` counts the numbers: each device appends a byte, which is atomic, and the
//! position after it is the device's own. All processes of a machine share the file, whatever their pool, and
//! the kernel makes `/dev` anew at each boot. A container with a `/dev` of its own has a file of its own: it
//! begins at random, as after the loss of the file, so that it most likely finds numbers that nobody had.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const FILE: &str = "/dev/mapper/.calf-minor";
/// Lower numbers are left to programs that let the kernel choose, such as LVM: so they do not get one that
/// calf has used.
const FIRST: u32 = 1 << 12;
/// The kernel has four times as many, but XFS, where nodes are published, can store no larger ones
/// (`sysv_valid_dev`).
const END: u32 = 1 << 18;
const ALL: u64 = (END - FIRST) as u64;

/// Counts minor numbers.
#[derive(Default)]
pub(super) struct Minors(Mutex<Option<File>>);

impl Minors {
    /// Returns the next number, which another program's device may have.
    pub(super) fn next(&self) -> u32 {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = match &mut *file {
            Some(file) if !is_removed(file) => count(file),
            slot => open(Path::new(FILE)).and_then(|opened| count(slot.insert(opened))),
        };
        number(counted.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot count minor numbers in {FILE}; taking one at random");
            rand::random_range(0..ALL)
        }))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_len(rand::random_range(0..ALL))?;
            Ok(file)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(e) => Err(e),
    }
}

/// Whether other processes do not find the file any more.
fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0)
}

/// Appends to the file, and returns where.
fn count(file: &mut File) -> io::Result<u64> {
    file.write_all(&[0])?;
    Ok(file.stream_position()? - 1)
}

/// The minor number of the device that made the file longer than `counted` bytes.
fn number(counted: u64) -> u32 {
    FIRST + u32::try_from(counted % ALL).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::thread;

    use super::*;

    fn next(path: &Path) -> u32 {
        open(path).and_then(|mut file| count(&mut file)).map(number).unwrap()
    }

    #[test]
    fn numbers_ascend_and_start_over_after_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minor");
        let first = next(&path);
        assert!((FIRST..END).contains(&first));
        File::options().write(true).open(&path).unwrap().set_len(ALL - 2).unwrap();
        let numbers: Vec<u32> = (0..4).map(|_| next(&path)).collect();
        assert_eq!(numbers, [END - 2, END - 1, FIRST, FIRST + 1]);
        let mut file = open(&path).unwrap();
        let numbers: Vec<u32> = (0..3).map(|_| number(count(&mut file).unwrap())).collect();
        assert_eq!(numbers, [2, 3, 4].map(|n| FIRST + n), "and in one process");
    }

    #[test]
    fn a_file_that_was_lost_begins_at_random() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minor");
        let begun: BTreeSet<u32> = (0..20)
            .map(|_| {
                let number = next(&path);
                fs::remove_file(&path).unwrap();
                number
            })
            .collect();
        assert!(begun.len() > 10, "{begun:?}");
        assert!(open(&directory.path().join("absent/minor")).is_err());
    }

    #[test]
    fn callers_at_once_get_different_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minor");
        next(&path);
        let take = || {
            let mut file = open(&path).unwrap();
            (0..50).map(|_| number(count(&mut file).unwrap())).collect::<Vec<u32>>()
        };
        let numbers: BTreeSet<u32> = thread::scope(|scope| {
            let callers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!(numbers.len(), 400);
    }
}
