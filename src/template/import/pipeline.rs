//! Reading, hashing and writing an image, all three at once.
//!
//! ```text
//! reader thread ──data, holes──▸ caller: hashes ──data, checkpoints──▸ writer thread
//!       ▴                                                                   │
//!       └───────────────────────────── used buffers ────────────────────────┘
//! ```
//!
//! Holes are hashed as zeros and neither read nor written; pages of zeros become holes. At a
//! checkpoint, what was written so far is made durable before the state of the hash is recorded,
//! so that an interrupted copy can go on from there.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::{ImageFile, SparseRead};
use crate::template::import::hash::ContentHash;

/// Bytes read, hashed and written at once.
const BUFFER: usize = 1 << 20;
/// Buffers in flight: enough to keep three threads busy.
const BUFFERS: usize = 6;
/// Longest hole taken at once, so that progress is seen on long ones.
const HOLE: u64 = 32 << 20;
/// Bytes between checkpoints: what an interrupted import does twice at most.
const CHECKPOINT: u64 = 128 << 20;
/// Bytes written between looks at the free space.
const ROOM: u64 = 32 << 20;
/// Unit of zero detection: the block size that file systems of a pool use.
const PAGE: usize = 4096;

/// Where content is read from.
pub(crate) enum Input<'a> {
    /// A file or a disk image, with its holes.
    File(&'a dyn SparseRead),
    /// A stream whose next byte is the one at the start of the job.
    Stream(Mutex<Box<dyn Read + Send + 'a>>),
}

/// What to copy, and whom to tell. Sizes and offsets are in bytes.
pub(crate) struct Job<'a> {
    pub(crate) source: Input<'a>,
    /// `None` if the stream ends where the content does. There is no checkpoint then.
    pub(crate) size: Option<u64>,
    /// `None` if the content is in place and only to be hashed.
    pub(crate) destination: Option<&'a dyn ImageFile>,
    /// Where to begin, and the hash of all before that.
    pub(crate) start: u64,
    pub(crate) hash: ContentHash,
    /// Makes an error of a failed read or write.
    pub(crate) read_failed: &'a (dyn Fn(io::Error) -> crate::error::Error + Sync),
    pub(crate) write_failed: &'a (dyn Fn(io::Error) -> crate::error::Error + Sync),
    /// Asked after each part; everything before it is then a checkpoint.
    pub(crate) cancel: Cancel,
    /// Whether there is still room to write, after this many bytes.
    pub(crate) room: &'a (dyn Fn(u64) -> Result<()> + Sync),
    /// Everything before the offset is durable, and has this hash.
    pub(crate) checkpoint: &'a (dyn Fn(u64, &ContentHash) -> Result<()> + Sync),
}

/// A part of the source, in order.
enum Part {
    Data(u64, Vec<u8>),
    Hole(u64, u64),
}

impl Part {
    fn end(&self) -> u64 {
        match self {
            Self::Data(offset, bytes) => offset + bytes.len() as u64,
            Self::Hole(offset, length) => offset + length,
        }
    }
}

/// What the writer is to do.
enum Order {
    Write(u64, Vec<u8>),
    Checkpoint(u64, ContentHash),
}

/// The whole content.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Runs the job and describes the whole content. `progress` is told the bytes done.
pub(crate) fn run(job: Job<'_>, progress: &mut dyn FnMut(u64)) -> Result<Whole> {
    thread::scope(|scope| {
        let (free, used) = channel();
        let (parts, read) = sync_channel(BUFFERS);
        let (orders, written) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = free.send(Vec::with_capacity(BUFFER));
        }
        let (job, start) = (&job, job.start);
        let reader = scope.spawn(move || match &job.source {
            Input::File(file) => read_parts(job, *file, start, &used, &parts),
            Input::Stream(stream) => read_stream(job, stream, start, &used, &parts),
        });
        let writer = scope.spawn(move || write_orders(job, &written, &free));
        let hash = hash_parts(job, read, orders, progress);
        // A writer that failed made the others stop: its error is the cause.
        join(writer)?;
        join(reader)?;
        let (hash, size) = hash?;
        Ok(Whole { digest: hash.finish(), size })
    })
}

/// The error of an import that the caller ended.
pub(crate) fn cancelled() -> Error {
    let why = "the caller cancelled it";
    Error::new(ErrorKind::Cancelled, "import", "the image", why)
        .remedy("import it again: that goes on from here")
}

fn join(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Ends early when a neighbour has gone away; that one has the error.
fn hash_parts(
    job: &Job<'_>,
    parts: Receiver<Part>,
    orders: SyncSender<Order>,
    progress: &mut dyn FnMut(u64),
) -> Result<(ContentHash, u64)> {
    let mut hash = job.hash.clone();
    let mut outcome = Ok(());
    let (mut done, mut checkpoint) = (job.start, job.start);
    for part in parts {
        let end = part.end();
        match part {
            Part::Hole(_, length) => hash.update_zeros(length),
            Part::Data(offset, bytes) => {
                hash.update(&bytes);
                if orders.send(Order::Write(offset, bytes)).is_err() {
                    break;
                }
            }
        }
        done = end;
        let goes_on = job.size.is_none_or(|size| end < size);
        if job.size.is_some() && end >= checkpoint + CHECKPOINT && goes_on {
            checkpoint = end;
            if orders.send(Order::Checkpoint(end, hash.clone())).is_err() {
                break;
            }
        }
        progress(end);
        if job.cancel.is_requested() && goes_on {
            outcome = Err(cancelled());
            break;
        }
    }
    if checkpoint < done && job.size.is_some_and(|size| done < size) {
        // Reading failed, or the caller ended it. What came before that is not to be read twice: a server that cuts each
        // connection early would else never be done with.
        let _ = orders.send(Order::Checkpoint(done, hash.clone()));
    }
    outcome.map(|()| (hash, done))
}

fn read_stream(
    job: &Job<'_>,
    stream: &Mutex<Box<dyn Read + Send + '_>>,
    start: u64,
    buffers: &Receiver<Vec<u8>>,
    parts: &SyncSender<Part>,
) -> Result<()> {
    let mut stream = stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut at = start;
    let size = job.size.unwrap_or(u64::MAX);
    while at < size {
        let Ok(mut buffer) = buffers.recv() else { return Ok(()) };
        // After a resumption at any byte, pages of the buffer are pages of the file again.
        let aligned = BUFFER - (at % BUFFER as u64) as usize;
        buffer.resize(aligned.min(usize::try_from(size - at).unwrap_or(BUFFER)), 0);
        let (read, end) = fill(&mut *stream, &mut buffer, &job.cancel);
        buffer.truncate(read);
        if read > 0 && parts.send(Part::Data(at, buffer)).is_err() {
            return Ok(());
        }
        at += read as u64;
        match end {
            Filled::Enough => {}
            Filled::End if job.size.is_none() => return Ok(()),
            Filled::End => return Err((job.read_failed)(io::ErrorKind::UnexpectedEof.into())),
            Filled::Failed(error) => return Err((job.read_failed)(error)),
        }
        if job.cancel.is_requested() && at < size {
            return Err(cancelled());
        }
    }
    Ok(())
}

/// How filling a buffer ended.
enum Filled {
    /// It is full, or the import was cancelled.
    Enough,
    /// The stream has no more bytes.
    End,
    Failed(io::Error),
}

/// Fills the buffer, unless it is cancelled; how much of it was, and how that ended. A slow server
/// may need minutes to fill it.
fn fill(stream: &mut dyn Read, buffer: &mut [u8], cancel: &Cancel) -> (usize, Filled) {
    let mut filled = 0;
    while filled < buffer.len() && !cancel.is_requested() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return (filled, Filled::End),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (filled, Filled::Failed(e)),
        }
    }
    (filled, Filled::Enough)
}

fn read_parts(
    job: &Job<'_>,
    file: &dyn SparseRead,
    start: u64,
    buffers: &Receiver<Vec<u8>>,
    parts: &SyncSender<Part>,
) -> Result<()> {
    let mut at = start;
    let size = job.size.unwrap_or(u64::MAX);
    while at < size {
        let data = file.next_data(at).map_err(job.read_failed)?.min(size);
        while at < data {
            let length = HOLE.min(data - at);
            if parts.send(Part::Hole(at, length)).is_err() {
                return Ok(());
            }
            at += length;
        }
        let hole = next_hole(file, at, size).map_err(job.read_failed)?.min(size);
        while at < hole {
            let Ok(mut buffer) = buffers.recv() else { return Ok(()) };
            buffer.resize(BUFFER.min((hole - at) as usize), 0);
            read_exact(file, &mut buffer, at).map_err(job.read_failed)?;
            let length = buffer.len() as u64;
            if parts.send(Part::Data(at, buffer)).is_err() {
                return Ok(());
            }
            at += length;
        }
    }
    Ok(())
}

fn write_orders(job: &Job<'_>, orders: &Receiver<Order>, buffers: &Sender<Vec<u8>>) -> Result<()> {
    let (mut written, mut looked) = (0, 0);
    for order in orders {
        match order {
            Order::Write(offset, bytes) => {
                if let Some(file) = job.destination {
                    if written >= looked + ROOM {
                        (job.room)(written)?;
                        looked = written;
                    }
                    written += write_sparse(file, offset, &bytes).map_err(job.write_failed)?;
                }
                // The reader may have what it needs already.
                let _ = buffers.send(bytes);
            }
            Order::Checkpoint(offset, hash) => {
                if let Some(file) = job.destination {
                    file.sync().map_err(job.write_failed)?;
                }
                (job.checkpoint)(offset, &hash)?;
            }
        }
    }
    Ok(())
}

/// Writes all but pages of zeros. Returns how much that was.
pub(super) fn write_sparse(file: &dyn ImageFile, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    let is_zero = |page: &[u8]| page == &ZEROS[..page.len()];
    let (mut start, mut written) = (0, 0);
    let mut write = |start: usize, end: usize| {
        written += (end - start) as u64;
        match &bytes[start..end] {
            [] => Ok(()),
            data => file.write_all_at(data, offset + start as u64),
        }
    };
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        if is_zero(page) {
            let end = index * PAGE;
            write(start, end)?;
            start = end + page.len();
        }
    }
    write(start, bytes.len())?;
    Ok(written)
}

/// Where the data at `offset` ends.
fn next_hole(file: &dyn SparseRead, offset: u64, size: u64) -> io::Result<u64> {
    if offset >= size {
        return Ok(size);
    }
    match file.next_hole(offset)? {
        // A hole was punched here since it was found to be data: read the zeros.
        at if at <= offset => Ok(size.min(offset + PAGE as u64)),
        at => Ok(at.min(size)),
    }
}

/// Fills the buffer with what is at `offset`; an error if the file has become shorter.
fn read_exact(file: &dyn SparseRead, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    match file.fill_from(buffer, offset)? {
        filled if filled == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt as _};

    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn failed(e: io::Error) -> Error {
        Error::io("copy", "the image", e)
    }

    fn copy(
        source: &File,
        destination: &File,
        size: u64,
        start: u64,
        hash: ContentHash,
    ) -> Result<Digest> {
        run_job(Input::File(source), destination, size, start, hash)
    }

    fn run_job<'a>(
        source: Input<'a>,
        destination: &'a File,
        size: u64,
        start: u64,
        hash: ContentHash,
    ) -> Result<Digest> {
        let job = Job {
            source,
            size: Some(size),
            destination: Some(destination),
            start,
            hash,
            read_failed: &failed,
            write_failed: &failed,
            cancel: Cancel::never(),
            room: &|_| Ok(()),
            checkpoint: &|_, _| Ok(()),
        };
        run(job, &mut |_| ()).map(|whole| whole.digest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_copy_has_the_content_and_the_digest(
            parts in prop::collection::vec((any::<u8>(), 1usize..300), 1..12),
            cut in 0.0f64..1.0,
        ) {
            // Runs of one byte value, in sectors; a zero makes zeros on disk.
            let content: Vec<u8> =
                parts.iter().flat_map(|(b, sectors)| vec![b % 4; sectors * 512]).collect();
            let size = content.len() as u64;
            let source = tempfile::tempfile().unwrap();
            source.set_len(size).unwrap();
            write_sparse(&source, 0, &content).unwrap();
            let destination = tempfile::tempfile().unwrap();
            destination.set_len(size).unwrap();
            // As after an interruption: all before `start` is there, and hashed.
            let start = (size as f64 * cut) as usize / 4096 * 4096;
            FileExt::write_all_at(&destination, &content[..start], 0).unwrap();
            let mut hash = ContentHash::default();
            hash.update(&content[..start]);
            let digest = copy(&source, &destination, size, start as u64, hash).unwrap();
            prop_assert_eq!(digest, Digest::of(Sha256::new_with_prefix(&content)));
            let mut copied = vec![0; content.len()];
            destination.read_exact_at(&mut copied, 0).unwrap();
            prop_assert!(copied == content);
        }
    }

    /// Gives a few bytes at a time, and an error at the end.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let length = self.1.min(buffer.len()).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn a_stream_is_copied_from_any_byte_on_and_its_end_is_a_checkpoint() {
        let content: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 4096) as u8).collect();
        let size = content.len() as u64;
        let destination = tempfile::tempfile().unwrap();
        destination.set_len(size).unwrap();
        let cut = (2 << 20) + 17;
        let reached = Mutex::new(None);
        let job = Job {
            source: Input::Stream(Mutex::new(Box::new(Drip(&content[..cut], 7777)))),
            size: Some(size),
            destination: Some(&destination),
            start: 0,
            hash: ContentHash::default(),
            read_failed: &failed,
            write_failed: &failed,
            cancel: Cancel::never(),
            room: &|_| Ok(()),
            checkpoint: &|offset, hash| {
                *reached.lock().unwrap() = Some((offset, hash.clone()));
                Ok(())
            },
        };
        run(job, &mut |_| ()).unwrap_err();
        let (offset, hash) = reached.into_inner().unwrap().unwrap();
        assert_eq!(offset, cut as u64);
        let rest = Input::Stream(Mutex::new(Box::new(&content[cut..])));
        let digest = run_job(rest, &destination, size, offset, hash).unwrap();
        assert_eq!(digest, Digest::of(Sha256::new_with_prefix(&content)));
        let mut copied = vec![0; content.len()];
        destination.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == content);
    }

    #[test]
    fn zeros_on_disk_become_holes() {
        let source = tempfile::tempfile().unwrap();
        FileExt::write_all_at(&source, &vec![0; 4 << 20], 0).unwrap();
        FileExt::write_all_at(&source, b"x", 1 << 20).unwrap();
        let destination = tempfile::tempfile().unwrap();
        destination.set_len(4 << 20).unwrap();
        copy(&source, &destination, 4 << 20, 0, ContentHash::default()).unwrap();
        assert!(destination.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }

    #[test]
    fn a_failed_write_stops_everything() {
        let source = tempfile::tempfile().unwrap();
        FileExt::write_all_at(&source, &vec![7; 32 << 20], 0).unwrap();
        let read_only = File::open("/proc/self/exe").unwrap();
        let error = copy(&source, &read_only, 32 << 20, 0, ContentHash::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
