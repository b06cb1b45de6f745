//! `calf snapshot export` and `calf snapshot import`, which need no kernel.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use calf_test_kit::command_line::{Run, TestEnv};
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 4096;

/// A pool with a template, and the template's digest.
fn environment() -> (TestEnv, String) {
    let env = TestEnv::new();
    let image = env.image("image", 1 << 20, 4096);
    let image = image.to_str().expect("UTF-8");
    let imported = env.json(&["template", "import", image, "--name", "base"]);
    let digest = imported["digest"].as_str().expect("a digest");
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_owned();
    (env, digest)
}

/// A stream, as docs/backup.md describes it, of a snapshot in which these chunks were written.
fn stream(
    digest: &str,
    name: &str,
    base: Option<&str>,
    chunks: &[(u64, u8)],
    all: usize,
) -> Vec<u8> {
    let identity = |name: &str| hex::encode(Sha256::digest(name));
    let base = base.map_or(String::new(), |base| {
        let identity = identity(base);
        format!("  \"base\": {{\n    \"snapshot\": \"{base}\",\n    \"identity\": \"{identity}\"\n  }},\n")
    });
    let head = format!(
        "{{\n  \"snapshot\": \"{name}\",\n  \"identity\": \"{}\",\n  \"volume\": \"vm1\",\n  \
         \"template\": \"base\",\n  \"digest\": \"{digest}\",\n  \"templateSize\": 1048576,\n  \
         \"size\": 1048576,\n  \"chunkSize\": 4096,\n  \"chunks\": {all},\n  \"consistency\": \"crash\",\n  \
         \"created\": \"2026-01-02T03:04:05.6Z\",\n{base}  \"told\": {}\n}}\n",
        identity(name),
        chunks.len()
    );
    let mut payload = [0, chunks.len() as u32].map(u32::to_le_bytes).concat();
    for (number, _) in chunks {
        payload.extend(number.to_le_bytes());
        payload.extend([1u32, 2].map(u32::to_le_bytes).as_flattened());
    }
    payload.extend(chunks.iter().flat_map(|(_, byte)| [*byte; CHUNK]));
    let mut bytes = b"calfsnap\x01\0\0\0".to_vec();
    for (kind, payload) in [(b"HEAD", head.as_bytes()), (b"RUNS", &payload), (b"END\0", b"")] {
        bytes.extend(kind);
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        let check = Sha256::digest(&bytes);
        bytes.extend(check);
    }
    bytes
}

/// Runs a command with this on its standard input.
fn fed(env: &TestEnv, arguments: &[&str], input: &[u8]) -> Run {
    let path = env.path("stdin");
    fs::write(&path, input).expect("a file");
    let mut command = env.command(arguments);
    command.stdin(File::open(path).expect("a file"));
    command.spawn().and_then(Child::wait_with_output).expect("it ran").into()
}

#[test]
fn what_was_imported_is_exported_again_byte_by_byte() {
    let (env, digest) = environment();
    let monday = stream(&digest, "monday", None, &[(3, 1), (9, 2)], 2);
    let run = fed(&env, &["snapshot", "import", "--name", "monday"], &monday);
    assert_eq!(run.code, Some(0), "{run:?}");
    let sha256 = hex::encode(Sha256::digest(&monday));
    assert!(run.stdout.starts_with("imported snapshot monday of volume vm1 ("), "{run:?}");
    assert!(run.stdout.ends_with(&format!(", sha256:{sha256})\n")), "{run:?}");
    let tuesday = stream(&digest, "tuesday", Some("monday"), &[(9, 7), (12, 3)], 3);
    let file = env.path("tuesday");
    fs::write(&file, &tuesday).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let import = ["snapshot", "import", file, "--name", "tuesday", "--base", "monday"];
    let imported = env.json(&import);
    assert_eq!(imported["base"], "monday");
    assert_eq!((&imported["chunks"], &imported["existed"]), (&3.into(), &false.into()));
    assert_eq!(imported["created"], "2026-01-02T03:04:05.6Z");
    assert!(env.ok(&import).stdout.starts_with("snapshot tuesday of volume vm1 exists (sha256:"));
    assert_eq!(env.ok(&["snapshot", "list", "-o", "name"]).stdout, "monday\ntuesday\n");
    let inspected = env.json(&["snapshot", "inspect", "monday"]);
    assert_eq!(inspected["identity"], hex::encode(Sha256::digest("monday")));
    assert!(inspected["imported"].is_string());

    // To standard output, which has nothing else.
    let output = env.command(&["snapshot", "export", "monday"]).output().expect("it ran");
    assert!(output.stdout == monday);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        told.ends_with(&format!("exported snapshot monday (8 KiB in 8.5 KiB, sha256:{sha256})\n")),
        "{told}"
    );
    // To a file, which only its owner may read.
    let file = env.path("out");
    fs::write(&file, "old").expect("a file");
    let path = file.to_str().expect("UTF-8");
    let exported = env.json(&["snapshot", "export", "tuesday", path, "--base", "monday"]);
    assert_eq!(exported["base"], inspected["identity"]);
    assert!(fs::read(&file).expect("a file") == tuesday);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(exported["sha256"], hex::encode(Sha256::digest(&tuesday)));
    let quiet = env.ok(&["-q", "snapshot", "export", "tuesday", path]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let packed = env.path("packed");
    env.ok(&["snapshot", "export", "tuesday", packed.to_str().expect("UTF-8"), "--compress"]);
    let size = |path| fs::metadata(path).expect("a file").len();
    assert!(size(&packed) * 5 < size(&file));
}

#[test]
fn a_failed_export_leaves_the_file_as_it_was() {
    let (env, digest) = environment();
    let monday = stream(&digest, "monday", None, &[(3, 1)], 1);
    assert_eq!(fed(&env, &["snapshot", "import", "--name", "s"], &monday).code, Some(0));
    let file = env.path("out");
    fs::write(&file, "old").expect("a file");
    let path = file.to_str().expect("UTF-8");
    for arguments in [&["none", path][..], &["s", path, "--base", "none"]] {
        let run = env.run(&[&["snapshot", "export"], arguments].concat());
        assert_eq!(run.code, Some(3), "{run:?}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "old");
        assert!(!env.path("out.partial").exists());
    }
    // What is no file is written to as it is.
    let run = env.run(&["snapshot", "export", "s", "/dev/full"]);
    assert_eq!(run.code, Some(7), "{run:?}");
    env.ok(&["snapshot", "export", "s", "/dev/null"]);
    let run = env.run(&["snapshot", "export", "s", "/nowhere/out"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    // A reader that goes away is not taken for one that has all of it.
    let mut command = env.command(&["snapshot", "export", "s"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().expect("it ran").status.code(), Some(1));
}

#[test]
fn what_cannot_be_imported_has_an_exit_code_and_leaves_nothing() {
    let (env, digest) = environment();
    let good = stream(&digest, "s", None, &[(3, 1)], 1);
    let import = ["snapshot", "import", "--name", "s"];
    let mut damaged = good.clone();
    damaged[3000] ^= 1;
    let needs = |base| stream(&digest, "s", base, &[(3, 1)], 1);
    for (input, code, word) in [
        (b"".to_vec(), 2, "is no snapshot"),
        (b"PK\x03\x04".repeat(100), 2, "is no snapshot"),
        (good[..good.len() - 1].to_vec(), 11, "cut short"),
        (damaged, 11, "is damaged at byte"),
        (
            stream(&"0a".repeat(32), "s", None, &[(3, 1)], 1),
            3,
            "calf template import IMAGE --name base",
        ),
        (needs(Some("r")), 3, "since snapshot r"),
        (b"calfsnap\x02\0\0\0".to_vec(), 9, "format 2"),
    ] {
        let run = fed(&env, &import, &input);
        assert_eq!(run.code, Some(code), "{run:?}");
        assert!(run.stderr.contains(word), "{word}: {run:?}");
        assert_eq!(env.ok(&["snapshot", "list", "-o", "name"]).stdout, "");
    }
    assert_eq!(env.run(&[&import[..], &["/nowhere"]].concat()).code, Some(3));
    assert_eq!(fed(&env, &import, &good).code, Some(0));
    let other = stream(&digest, "t", None, &[(3, 2)], 1);
    assert_eq!(fed(&env, &import, &other).code, Some(4));
    let unneeded = ["snapshot", "import", "--name", "t", "--base", "s"];
    assert_eq!(fed(&env, &unneeded, &other).code, Some(2));
    assert_eq!(env.run(&["snapshot", "import"]).code, Some(2), "without a name");
}
