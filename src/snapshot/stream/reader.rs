//! Reads a stream, which may be anything: no more memory than a section needs is taken for what it claims.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::pool::record::{MAX_RECORD, parse};
use crate::snapshot::stream::encoding::decode;
use crate::snapshot::stream::fault::Fault;
use crate::snapshot::stream::format::{
    CHECK, END, HEAD, Kind, MAGIC, MAX_CONTENT, MAX_PAYLOAD, MAX_RUNS, PREFIX, RUNS, START,
    Summary, VERSION,
};
use crate::snapshot::stream::head::Head;
use crate::snapshot::stream::run::{Run, What, word};

/// A stream that is being read.
pub(crate) struct Reader<R> {
    source: Source<R>,
    head: Head,
    /// The first chunk that was not told yet.
    next: u64,
    /// Number of chunks told as zeros or data.
    told: u64,
}

/// What a stream has after its head.
pub(crate) enum Part {
    /// Chunks, which follow all that were told before, and the content of those that have data, one after the other.
    Runs(Vec<Run>, Vec<u8>),
    /// Nothing more: all of it is what was written.
    End(Summary),
}

impl<R: Read> Reader<R> {
    /// Reads up to the end of the head.
    pub(crate) fn begin(input: R) -> Result<Self, Fault> {
        let mut source = Source { input, hash: Sha256::new(), at: 0 };
        let mut start = [0; START];
        match source.fill(&mut start) {
            Err(Fault::Cut(_)) => return Err(Fault::Foreign),
            read => read?,
        }
        let (magic, version) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Fault::Foreign);
        }
        if word(version) != VERSION {
            return Err(Fault::Version(word(version)));
        }
        let at = source.at;
        let (kind, payload) = source.section()?;
        if kind != HEAD {
            return Err(Fault::damage(at, "it does not begin with a head"));
        }
        let head: Head = parse(&payload).map_err(|why| Fault::Damaged(at, why))?;
        Ok(Self { source, head, next: 0, told: 0 })
    }

    /// The head.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the next part. There is nothing to be read after the end.
    pub(crate) fn part(&mut self) -> Result<Part, Fault> {
        let at = self.source.at;
        match self.source.section()? {
            (RUNS, payload) => self.runs(at, payload),
            (END, payload) if payload.is_empty() && self.told == self.head.told => {
                let digest = hex::encode(self.source.hash.clone().finalize());
                Ok(Part::End(Summary { digest, length: self.source.at }))
            }
            (END, _) => Err(Fault::damage(at, "its end is not what its head promises")),
            _ => Err(Fault::damage(at, "a section of an unknown kind follows")),
        }
    }

    /// The runs of the section at an offset, and their content.
    fn runs(&mut self, at: u64, payload: Vec<u8>) -> Result<Part, Fault> {
        let count = payload.get(4..PREFIX).map_or(0, word) as usize;
        let start = PREFIX + count.min(MAX_RUNS) * Run::LENGTH;
        if count == 0 || count > MAX_RUNS || payload.len() < start {
            return Err(Fault::damage(at, "it has not as many runs as it says"));
        }
        let (bytes, _) = payload[PREFIX..start].as_chunks::<{ Run::LENGTH }>();
        let mut runs = Vec::with_capacity(count);
        let mut length = 0;
        for bytes in bytes {
            let unknown = || Fault::damage(at, "a run is of an unknown kind");
            let run = Run::parse(*bytes).ok_or_else(unknown)?;
            self.check(run).map_err(|what| Fault::damage(at, what))?;
            if run.what == What::Data {
                length += u64::from(run.count) * self.head.chunk_size;
            }
            runs.push(run);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_CONTENT);
        let long = || Fault::damage(at, "it has more content than a section may");
        let content = decode(at, payload, start, length.ok_or_else(long)?)?;
        Ok(Part::Runs(runs, content))
    }

    /// Refuses a run that cannot follow those before it.
    fn check(&mut self, run: Run) -> Result<(), &'static str> {
        if run.count == 0 {
            return Err("a run has no chunks");
        }
        if run.first < self.next {
            return Err("a chunk is told twice, or out of order");
        }
        if run.end() > self.head.volume_chunks() {
            return Err("a chunk is behind the end of the volume");
        }
        self.next = run.end();
        match run.what {
            What::Template if self.head.base.is_none() => {
                return Err("it tells chunks of the template, and has no base");
            }
            What::Template => {}
            What::Zeros | What::Data => self.told += u64::from(run.count),
        }
        match self.told > self.head.told {
            true => Err("it tells more chunks than its head promises"),
            false => Ok(()),
        }
    }
}

/// What is read, and what its digest is so far.
struct Source<R> {
    input: R,
    hash: Sha256,
    at: u64,
}

impl<R: Read> Source<R> {
    /// Reads a section, and checks its digest.
    fn section(&mut self) -> Result<(Kind, Vec<u8>), Fault> {
        let start = self.at;
        let (mut kind, mut length) = (Kind::default(), [0; 4]);
        self.fill(&mut kind)?;
        self.fill(&mut length)?;
        let length = word(&length) as usize;
        let most = if kind == HEAD { MAX_RECORD as usize } else { MAX_PAYLOAD };
        if length > most {
            return Err(Fault::damage(start, "a section is longer than any can be"));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let expected = self.hash.clone().finalize();
        let mut check = [0; CHECK];
        self.fill(&mut check)?;
        match expected[..] == check {
            true => Ok((kind, payload)),
            false => Err(Fault::damage(start, "a section does not have its digest")),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Fault::Cut(self.at + filled as u64)),
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Fault::Read(e)),
            }
        }
        self.hash.update(&*buffer);
        self.at += buffer.len() as u64;
        Ok(())
    }
}
