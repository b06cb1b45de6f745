//! Fuzzing of the reader.

use sha2::{Digest as _, Sha256};

use crate::snapshot::stream::format::{CHECK, START};
use crate::snapshot::stream::run::word;
use crate::snapshot::stream::{MAX_CONTENT, Part, Reader, What, Writer};

/// Reads a stream as it is, and with the right digests, which no fuzzer guesses.
pub fn snapshot_stream(data: &[u8]) {
    check(data);
    check(&with_digests(data));
}

/// The same stream, in which each section has its digest.
fn with_digests(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = START;
    while let Some(length) = bytes.get(at + 4..at + 8).map(word) {
        let end = at + 8 + length as usize;
        let (before, after) = bytes.split_at_mut(end.min(data.len()));
        let Some(place) = after.get_mut(..CHECK) else { break };
        place.copy_from_slice(&Sha256::digest(before));
        at = end + CHECK;
    }
    bytes
}

/// What is accepted is in order, within the volume and as long as it says, and is the same after it was written and read
/// again.
fn check(data: &[u8]) {
    let mut rest = data;
    let Ok(mut reader) = Reader::begin(&mut rest) else { return };
    let head = reader.head().clone();
    let chunk = usize::try_from(head.chunk_size).expect("a chunk is small");
    let mut again = Vec::new();
    let mut writer = Writer::begin(&mut again, &head, false).expect("memory");
    let (mut told, mut next) = (0, 0);
    let summary = loop {
        let (runs, content) = match reader.part() {
            Ok(Part::Runs(runs, content)) => (runs, content),
            Ok(Part::End(summary)) => break summary,
            Err(_) => return,
        };
        assert!(content.len() <= MAX_CONTENT);
        let mut content = content.chunks_exact(chunk);
        for run in runs {
            assert!(run.first >= next && run.end() <= head.size.div_ceil(head.chunk_size));
            next = run.end();
            match run.what {
                What::Data => {
                    for number in run.first..run.end() {
                        let content = content.next().expect("content of each chunk");
                        writer.chunk(number, content).expect("memory");
                    }
                }
                what => writer.blank(run.first, run.count.into(), what).expect("memory"),
            }
            if run.what != What::Template {
                told += u64::from(run.count);
            }
        }
        assert!(content.next().is_none() && content.remainder().is_empty());
    };
    assert_eq!(told, head.told);
    assert_eq!(summary.length, (data.len() - rest.len()) as u64);
    let written = writer.end().expect("memory");
    assert_eq!(written.length, again.len() as u64);
    let mut reader = Reader::begin(&again[..]).expect("what was written can be read");
    assert_eq!(*reader.head(), head);
    loop {
        match reader.part().expect("what was written can be read") {
            Part::Runs(..) => {}
            Part::End(summary) => break assert_eq!(summary, written),
        }
    }
}
