//! The disk in a qcow2 image: its bytes at offsets, with its holes.

use std::io;
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::sys::SparseRead;
use crate::template::import::format::HEAD;
use crate::template::import::qcow2::cluster::Unpacked;
use crate::template::import::qcow2::entry::{self, Content, L1Entry};
use crate::template::import::qcow2::fault::Fault;
use crate::template::import::qcow2::header::Header;
use crate::template::import::qcow2::window::Window;

/// Shortest hole that is told as one: a page of the pool's file system.
const SHORTEST_HOLE: u64 = 4096;
/// Most entries to look at for the next data: the answer may come early, so that nobody waits for a look
/// at the whole of a large disk.
const MOST_STEPS: u32 = 1 << 20;

/// The disk in an image.
pub(crate) struct Disk<'a> {
    image: &'a dyn SparseRead,
    header: Header,
    state: Mutex<State>,
}

/// What was read last.
#[derive(Default)]
struct State {
    l1: Window,
    l2: Window,
    unpacked: Unpacked,
}

/// A part of the disk, from where it was asked for.
struct Extent {
    content: Content,
    /// Where the next part begins.
    end: u64,
}

impl<'a> Disk<'a> {
    /// Reads the header. `shown` is the image, for people.
    pub(crate) fn open(image: &'a dyn SparseRead, shown: &str) -> Result<Self> {
        let mut head = vec![0; HEAD];
        let read = image.fill_from(&mut head, 0);
        head.truncate(read.map_err(|error| Error::io("import", shown, error))?);
        let header = Header::parse(&head, shown)?;
        Ok(Self { image, header, state: Mutex::default() })
    }

    /// Size of the disk, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.header.disk_size()
    }

    /// How many snapshots are in the image, whose state is not that of the disk.
    pub(crate) fn snapshots(&self) -> u32 {
        self.header.snapshots
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is at an offset within the disk.
    fn extent(&self, state: &mut State, at: u64) -> io::Result<Extent> {
        let header = &self.header;
        let (table, cluster) = (header.table_bits(), header.cluster_bits);
        let end_of = |bits: u32| (at >> bits << bits).saturating_add(1 << bits).min(header.size);
        let entry = state.l1.u64_at(self.image, header.l1_at(at), "L1 table")?;
        let l2 = match entry::l1(header, entry).map_err(|why| damaged(at, why))? {
            L1Entry::Hole => return Ok(Extent { content: Content::Hole, end: end_of(table) }),
            L1Entry::Table(offset) => offset + header.l2_at(at),
        };
        let entry = state.l2.u64_at(self.image, l2, "L2 table")?;
        let parts = match header.extended {
            true => Some(state.l2.u64_at(self.image, l2 + 8, "L2 table")?),
            false => None,
        };
        let within = at & ((1 << cluster) - 1);
        let (content, length) =
            entry::l2(header, entry, parts, within).map_err(|why| damaged(at, why))?;
        Ok(Extent { content, end: at.saturating_add(length).min(header.size) })
    }
}

impl SparseRead for Disk<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.header.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.state();
        let Extent { content, end } = self.extent(&mut state, offset)?;
        let length = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let part = &mut buffer[..length];
        match content {
            Content::Hole => part.fill(0),
            Content::Data(at) => {
                let read = self.image.fill_from(part, at)?;
                if read < length {
                    return Err(Fault::cut("data of its disk", at + read as u64));
                }
            }
            Content::Packed { at, length: packed } => {
                let within = (offset & ((1 << self.header.cluster_bits) - 1)) as usize;
                let whole = state
                    .unpacked
                    .cluster(self.image, &self.header, at, packed)
                    .map_err(|why| why.at(offset))?;
                part.copy_from_slice(&whole[within..within + length]);
            }
        }
        Ok(length)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        let (mut state, mut at) = (self.state(), offset);
        for _ in 0..MOST_STEPS {
            if at >= self.header.size {
                return Ok(u64::MAX);
            }
            let extent = self.extent(&mut state, at)?;
            if extent.content != Content::Hole {
                break;
            }
            at = extent.end;
        }
        Ok(at)
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        let (mut state, mut at) = (self.state(), offset);
        let mut hole = None;
        for _ in 0..MOST_STEPS {
            if at >= self.header.size {
                break;
            }
            let extent = self.extent(&mut state, at)?;
            match (extent.content, hole) {
                (Content::Hole, None) => hole = Some(at),
                (Content::Hole, Some(_)) => {}
                (_, _) => hole = None,
            }
            at = extent.end;
            if let Some(start) = hole.filter(|start| at - start >= SHORTEST_HOLE) {
                return Ok(start);
            }
        }
        Ok(hole.unwrap_or(at))
    }
}

fn damaged(at: u64, why: &'static str) -> io::Error {
    Fault::Damaged { at, why: why.to_owned() }.into()
}

/// The error for an image that cannot be read; `None` if reading failed for another reason.
pub(crate) fn explain(error: &io::Error, shown: &str) -> Option<Error> {
    error.get_ref()?.downcast_ref::<Fault>().map(|fault| fault.explain(shown))
}

#[cfg(test)]
mod tests;
