//! Writes a stream.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::pool::record::to_bytes;
use crate::snapshot::stream::encoding::encode;
use crate::snapshot::stream::format::{
    END, HEAD, Kind, MAGIC, MAX_CONTENT, MAX_RUNS, RUNS, Summary, VERSION,
};
use crate::snapshot::stream::head::Head;
use crate::snapshot::stream::run::{Run, What};

/// A stream that is being written.
pub(crate) struct Writer<W> {
    out: W,
    hash: Sha256,
    length: u64,
    chunk: usize,
    compress: bool,
    /// What the next section is to have.
    runs: Vec<Run>,
    content: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a stream.
    pub(crate) fn begin(out: W, head: &Head, compress: bool) -> io::Result<Self> {
        let chunk = usize::try_from(head.chunk_size).unwrap_or(usize::MAX);
        let (hash, runs, content) = (Sha256::new(), Vec::new(), Vec::new());
        let mut writer = Self { out, hash, length: 0, chunk, compress, runs, content };
        writer.put(&MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        writer.section(HEAD, &[&to_bytes(head)])?;
        Ok(writer)
    }

    /// Tells that chunks, which follow all that were told before, hold no data.
    pub(crate) fn blank(&mut self, first: u64, count: u64, what: What) -> io::Result<()> {
        let end = first + count;
        let mut at = first;
        while at < end {
            let step = u32::try_from(end - at).unwrap_or(u32::MAX);
            self.tell(Run { first: at, count: step, what })?;
            at += u64::from(step);
        }
        Ok(())
    }

    /// Tells what a chunk holds that follows all that were told before.
    pub(crate) fn chunk(&mut self, number: u64, content: &[u8]) -> io::Result<()> {
        if content.iter().all(|byte| *byte == 0) {
            return self.blank(number, 1, What::Zeros);
        }
        if self.content.len() + self.chunk > MAX_CONTENT {
            self.flush()?;
        }
        self.tell(Run { first: number, count: 1, what: What::Data })?;
        self.content.extend_from_slice(content);
        Ok(())
    }

    /// Ends the stream.
    pub(crate) fn end(mut self) -> io::Result<Summary> {
        self.flush()?;
        self.section(END, &[])?;
        self.out.flush()?;
        Ok(Summary { digest: hex::encode(self.hash.finalize()), length: self.length })
    }

    fn tell(&mut self, run: Run) -> io::Result<()> {
        if let Some(last) = self.runs.last_mut()
            && last.what == run.what
            && last.end() == run.first
            && let Some(count) = last.count.checked_add(run.count)
        {
            last.count = count;
            return Ok(());
        }
        if self.runs.len() == MAX_RUNS {
            self.flush()?;
        }
        self.runs.push(run);
        Ok(())
    }

    /// Writes what was told and is not written yet.
    fn flush(&mut self) -> io::Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let content = std::mem::take(&mut self.content);
        let runs: Vec<u8> = self.runs.drain(..).flat_map(Run::to_bytes).collect();
        let (encoding, packed) = encode(&content, self.compress);
        let count = u32::try_from(runs.len() / Run::LENGTH).unwrap_or(u32::MAX).to_le_bytes();
        let bytes = packed.as_deref().unwrap_or(&content);
        self.section(RUNS, &[&encoding.to_le_bytes(), &count, &runs, bytes])?;
        self.content = content;
        self.content.clear();
        Ok(())
    }

    fn section(&mut self, kind: Kind, payload: &[&[u8]]) -> io::Result<()> {
        let length: usize = payload.iter().map(|part| part.len()).sum();
        self.put(&kind)?;
        self.put(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes())?;
        for part in payload {
            self.put(part)?;
        }
        let check = self.hash.clone().finalize();
        self.put(&check)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
