//! Replays the corpora of the fuzzers, and a limited number of mutations of each input: all must
//! pass, and no corpus may be empty or without a fuzzer. `make fuzz` fuzzes with coverage.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use calf::fuzzing::TARGETS;

/// Mutations of each input; the target that works on files gets fewer.
const MUTATIONS: u64 = 500;
const MUTATIONS_OF_REQUESTS: u64 = 20;

/// Bytes that often break parsers.
const TOKENS: [&[u8]; 10] = [
    b"\0",
    b"/../",
    b"\xff\xff\xff\xff",
    b"18446744073709551615",
    b"-1",
    b"\n",
    b" ",
    b"\\1",
    b",",
    b"\"",
];

/// Random numbers that a seed reproduces (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Changes an input a little: a byte, a piece taken out, doubled or moved in from `other`.
fn mutate(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1).min(64);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            4 => {
                let from = random.below(other.len() + 1);
                let piece = &other[from..];
                drop(bytes.splice(at..end, piece[..piece.len().min(64)].iter().copied()));
            }
            _ => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        }
    }
    bytes
}

#[test]
fn mutations_of_every_input_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for &(name, target) in TARGETS {
        let mut inputs: Vec<Vec<u8>> = Vec::new();
        for entry in fs::read_dir(root.join(name)).expect("a corpus") {
            inputs.push(fs::read(entry.expect("an entry").path()).expect("an input"));
        }
        inputs.sort();
        let rounds = if name == "requests" { MUTATIONS_OF_REQUESTS } else { MUTATIONS };
        for (n, input) in inputs.iter().enumerate() {
            for round in 1..=rounds {
                let mut random = Random((n as u64 + 1) << 32 | round);
                let other = &inputs[random.below(inputs.len())];
                let mutated = mutate(&mut random, input, other);
                let passed = std::panic::catch_unwind(|| target(&mutated));
                assert!(
                    passed.is_ok(),
                    "{name} fails for {:?}",
                    mutated.escape_ascii().to_string()
                );
            }
        }
    }
}

#[test]
fn every_input_of_every_corpus_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut corpora: BTreeSet<String> = fs::read_dir(&root)
        .expect("the corpora")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    for &(name, target) in TARGETS {
        assert!(corpora.remove(name), "{name} has no corpus");
        let mut inputs = 0;
        for entry in fs::read_dir(root.join(name)).expect("a corpus") {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fuzz/targets")
                .join(name)
                .with_extension("rs")
                .is_file()
        );
    }
    assert!(corpora.is_empty(), "nobody reads {corpora:?}");
}
