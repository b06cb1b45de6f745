//! Compressed images on the command line: standard input, lists of checksums, and what is told.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use calf_test_kit::command_line::{Run, TestEnv, digest};

const MIB: u64 = 1 << 20;

/// Compresses a file beside it.
fn packed(image: &Path, program: &str, ending: &str) -> PathBuf {
    let path = image.with_extension(ending);
    let to = File::create(&path).unwrap();
    let status = Command::new(program).arg("-c").arg(image).stdout(to).status();
    assert!(status.is_ok_and(|status| status.success()), "{program}");
    path
}

fn import(env: &TestEnv, arguments: &[&str], input: Option<&Path>) -> Run {
    let mut command = env.command(&[&["template", "import", "--name", "a"], arguments].concat());
    if let Some(path) = input {
        command.stdin(Stdio::from(File::open(path).unwrap()));
    }
    command.output().unwrap().into()
}

#[test]
fn standard_input_may_be_an_image_as_it_is_or_compressed() {
    let env = TestEnv::new();
    let image = env.image("a.img", 64 * MIB, 3 * MIB);
    for input in [image.clone(), packed(&image, "zstd", "zst"), packed(&image, "bzip2", "bz2")] {
        let run = import(&env, &["-"], Some(&input));
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(env.images(), [digest(&image)], "{input:?}");
        let shown = env.json(&["template", "inspect", "a"]);
        assert_eq!(shown["source"], "standard input");
        assert!(shown["allocated"].as_u64().unwrap() < 4 * MIB, "{shown}");
        env.ok(&["template", "remove", "a"]);
    }
    // A qcow2 image is copied to the pool, since its parts are in any order.
    let disk = env.path("a.qcow2");
    let form = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
    let status = Command::new("qemu-img").args(form).args([&image, &disk]).status();
    assert!(status.is_ok_and(|status| status.success()), "qemu-img");
    for input in [disk.clone(), packed(&disk, "zstd", "qcow2.zst")] {
        let run = import(&env, &["-"], Some(&input));
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(env.images(), [digest(&image)], "{input:?}");
        env.ok(&["template", "remove", "a"]);
    }
    // The other end of a pipe that breaks is an end like any other: the decoder knows better.
    let cut = env.path("cut.zst");
    let whole = fs::read(image.with_extension("zst")).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let run = import(&env, &["-"], Some(&cut));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("cut short"), "{run:?}");
    assert!(env.images().is_empty());
}

#[test]
fn the_result_says_what_the_digest_is_of() {
    let env = TestEnv::new();
    let image = env.image("a.img", 8 * MIB, MIB);
    let file = packed(&image, "xz", "img.xz");
    let source = file.to_str().unwrap();
    for (sha256, of) in [(digest(&file), "source"), (digest(&image), "content")] {
        let shown = env.json(&["template", "import", source, "--name", "a", "--sha256", &sha256]);
        assert_eq!(shown["sha256Of"], of);
        assert_eq!(shown["digest"], format!("sha256:{}", digest(&image)));
        let run = import(&env, &[source, "--sha256", &sha256], None);
        assert_eq!(run.stdout.contains("is that of the source"), of == "source", "{run:?}");
    }
    let shown = env.json(&["template", "import", source, "--name", "b"]);
    assert_eq!(shown["sha256Of"], serde_json::Value::Null);
    let shown = env.json(&["template", "inspect", "a"]);
    assert_eq!(shown["sourceDigest"], format!("sha256:{}", digest(&file)));
    let text = env.ok(&["template", "inspect", "a"]).stdout;
    assert!(text.contains(&format!("Source digest  sha256:{}", digest(&file))), "{text}");
    env.ok(&["template", "import", image.to_str().unwrap(), "--name", "raw"]);
    let shown = env.json(&["template", "inspect", "raw"]);
    assert_eq!(shown["digest"], format!("sha256:{}", digest(&image)));
}

#[test]
fn a_list_of_checksums_names_the_digest() {
    let env = TestEnv::new();
    let image = env.image("a.img", 8 * MIB, MIB);
    let file = packed(&image, "gzip", "img.gz");
    let (list, source) = (env.path("SHA256SUMS"), file.to_str().unwrap());
    let listed = ["--sha256sums", list.to_str().unwrap()];
    for (text, code, words) in [
        (format!("{}  a.img.gz\n", digest(&file)), 0, "is that of the source"),
        (format!("{} *a.img.gz\n", digest(&image)), 0, "imported template a"),
        (format!("{}  a.img.gz\n", "0".repeat(64)), 2, "was expected"),
        (format!("{}  b.img.gz\n", digest(&file)), 2, "no SHA-256 of a file of this name"),
    ] {
        fs::write(&list, &text).unwrap();
        let run = import(&env, &[&[source], &listed[..]].concat(), None);
        assert_eq!(run.code, Some(code), "{text}: {run:?}");
        assert!(format!("{}{}", run.stdout, run.stderr).contains(words), "{text}: {run:?}");
    }
    let run = import(&env, &[&["-"], &listed[..]].concat(), Some(&file));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("standard input has no name"), "{run:?}");
}
