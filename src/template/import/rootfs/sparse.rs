//! Files with holes: which blocks of them are stored, and their content.

use std::io::{self, Read};

use mkext4::SparseSeg;

use crate::template::import::rootfs::entry::Extent;

/// The block of the file systems that calf makes, in bytes.
pub(super) const BLOCK: u64 = 4096;

/// How many blocks of the file are stored.
pub(super) fn blocks(extent: &Extent) -> u64 {
    stored(extent).iter().map(|(start, end)| (end - start).div_ceil(BLOCK)).sum()
}

/// Data and holes in whole blocks; `None` for a file without holes.
pub(super) fn segments(extent: &Extent) -> Option<Vec<SparseSeg>> {
    let stored = stored(extent);
    if extent.size == 0 || stored == [(0, extent.size)] {
        return None;
    }
    let mut segments = Vec::new();
    let mut at = 0;
    for (start, end) in stored {
        if start > at {
            segments.push(SparseSeg::Hole(start - at));
        }
        segments.push(SparseSeg::Data(end - start));
        at = end;
    }
    if at < extent.size {
        segments.push(SparseSeg::Hole(extent.size - at));
    }
    Some(segments)
}

/// Where the stored blocks of the file start and end, the last one at the end of the file.
fn stored(extent: &Extent) -> Vec<(u64, u64)> {
    let Some(parts) = &extent.parts else {
        return if extent.size == 0 { Vec::new() } else { vec![(0, extent.size)] };
    };
    let mut stored: Vec<(u64, u64)> = Vec::new();
    for (offset, length) in parts {
        let start = offset - offset % BLOCK;
        let end = (offset + length).next_multiple_of(BLOCK).min(extent.size);
        match stored.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => stored.push((start, end)),
        }
    }
    stored
}

/// The content of the stored blocks: what is given of the file, with zeros around it.
pub(super) struct Stored<'a> {
    given: &'a mut dyn Read,
    /// The stored ranges, and of the first how much is read.
    ranges: Vec<(u64, u64)>,
    parts: Vec<(u64, u64)>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(extent: &Extent, given: &'a mut dyn Read) -> Self {
        let mut ranges = stored(extent);
        let mut parts = extent.parts.clone().unwrap_or_else(|| ranges.clone());
        ranges.reverse();
        parts.reverse();
        Self { given, ranges, parts }
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((at, end)) = self.ranges.last_mut() else { return Ok(0) };
        let most = (*end - *at).min(buffer.len() as u64);
        let read = match self.parts.last_mut() {
            Some((start, length)) if *start <= *at => {
                let most = most.min(*length) as usize;
                let read = self.given.read(&mut buffer[..most])?;
                (*start, *length) = (*start + read as u64, *length - read as u64);
                if *length == 0 {
                    self.parts.pop();
                }
                read as u64
            }
            next => {
                let zeros = next.map_or(most, |(start, _)| most.min(*start - *at));
                buffer[..zeros as usize].fill(0);
                zeros
            }
        };
        *at += read;
        if at == end {
            self.ranges.pop();
        }
        Ok(read as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(size: u64, parts: &[(u64, u64)]) -> Extent {
        Extent { size, parts: Some(parts.to_vec()) }
    }

    #[test]
    fn holes_are_whole_blocks() {
        use SparseSeg::{Data, Hole};

        assert_eq!(segments(&Extent { size: 5, parts: None }), None);
        assert_eq!(segments(&extent(0, &[])), None);
        assert_eq!(segments(&extent(5, &[])), Some(vec![Hole(5)]));
        assert_eq!(segments(&extent(5, &[(2, 1)])), None);
        assert_eq!(
            segments(&extent(20_000, &[(5000, 1), (8000, 100)])),
            Some(vec![Hole(4096), Data(4096), Hole(11808)])
        );
        assert_eq!(
            segments(&extent(20_000, &[(0, 4096), (19_999, 1)])),
            Some(vec![Data(4096), Hole(12_288), Data(3616)])
        );
        assert_eq!(blocks(&extent(20_000, &[(0, 4096), (19_999, 1)])), 2);
    }

    proptest! {
        #[test]
        fn what_is_given_is_in_its_place(
            gaps in prop::collection::vec((0u64..9000, 1u64..9000), 0..6), tail in 0u64..9000,
        ) {
            let mut parts = Vec::new();
            let (mut at, mut given, mut whole) = (0, Vec::new(), Vec::new());
            for (gap, length) in gaps {
                at += gap;
                parts.push((at, length));
                let bytes: Vec<u8> = (0..length).map(|n| (n % 250) as u8 + 1).collect();
                whole.resize(at as usize, 0);
                whole.extend(&bytes);
                given.extend(bytes);
                at += length;
            }
            let size = at + tail;
            whole.resize(size as usize, 0);
            let extent = extent(size, &parts);
            let mut read = Vec::new();
            Stored::new(&extent, &mut &given[..]).read_to_end(&mut read).unwrap();
            let mut rest = &read[..];
            let mut at = 0;
            let all = [SparseSeg::Data(size)];
            for segment in segments(&extent).as_deref().unwrap_or(if size == 0 { &[] } else { &all }) {
                let length = match segment {
                    SparseSeg::Data(length) => {
                        let (data, after) = rest.split_at(*length as usize);
                        prop_assert!(data == &whole[at..at + *length as usize]);
                        rest = after;
                        *length
                    }
                    SparseSeg::Hole(length) => {
                        prop_assert!(whole[at..at + *length as usize].iter().all(|b| *b == 0));
                        *length
                    }
                };
                at += length as usize;
            }
            prop_assert_eq!((at, rest.len()), (size as usize, 0));
        }
    }
}
