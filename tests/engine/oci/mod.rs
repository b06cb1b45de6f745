//! Container images: what the usual tools make and unpack, and what went wrong elsewhere.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

mod disks;
mod layout;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use calf::{Digest, ErrorKind, ImportFormat, ImportSpec, Platform, Pool, TemplateRecord};
use calf_test_kit::simulated_pool::Environment;
use serde_json::{Value, json};

use crate::oci::layout::{Layout, architecture, layer, packed};
use calf_test_kit::programs::{hex_of, run, text};

const MIB: u64 = 1 << 20;

fn pool() -> (Environment, Pool) {
    let environment = Environment::new();
    let pool = environment.pool();
    (environment, pool)
}

fn import(pool: &Pool, source: &Path) -> TemplateRecord {
    pool.import_template(&ImportSpec::new(source, "base"), &mut |_| ()).unwrap()
}

fn refused(pool: &Pool, spec: &ImportSpec, words: &str) {
    let error = pool.import_template(spec, &mut |_| ()).unwrap_err();
    let said = error.report();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{said}");
    assert!(said.contains(words), "{words}: {said}");
    assert!(!error.remedies().is_empty(), "{said}");
    for entry in fs::read_dir(pool.root().join("images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name}");
    }
}

fn unpack(pool: &Pool, record: &TemplateRecord) -> tempfile::TempDir {
    let image = pool.root().join("images").join(record.digest.as_str()).join("image");
    run("e2fsck", &["-fn", text(&image)]);
    let directory = tempfile::tempdir().unwrap();
    run("debugfs", &["-R", &format!("rdump / {}", text(directory.path())), text(&image)]);
    directory
}

/// Every path with its kind and content.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let found = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let what = if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            format!("/ {:o}", found.mode() & 0o777)
        } else if found.is_symlink() {
            format!(" -> {}", fs::read_link(&path).unwrap().display())
        } else {
            let content = String::from_utf8(fs::read(&path).unwrap()).unwrap();
            format!("={content:.40} {:o} {}", found.mode() & 0o777, found.mtime())
        };
        if !name.is_empty() && name != "lost+found" {
            lines.push(name + &what);
        }
    }
    lines.sort();
    lines
}

/// Layers that hurt.
fn layers() -> Vec<Vec<u8>> {
    let long = format!("{}file=deep", "a-rather-long-name/".repeat(30));
    vec![
        layer(&[
            "./",
            "usr/",
            "usr/lib/",
            "usr/bin/",
            "lib -> usr/lib",
            "etc/",
            "etc/a=1",
            "etc/b=2",
            "etc/c=3",
            "opaque/",
            "opaque/gone=x",
            "opaque/sub/",
            "opaque/sub/gone=x",
            "usr/bin/app=program",
            "usr/bin/alias == usr/bin/app",
            "gone/",
            "gone/x=x",
            "becomes-file/",
            "becomes-file/x=x",
            "becomes-dir=x",
            "var/",
            "var/run -> /run",
            "run/",
            &long,
        ]),
        layer(&[
            "etc/.wh.a",
            "etc/b=changed",
            ".wh.gone",
            "becomes-file=now",
            "becomes-dir/",
            "becomes-dir/x=new",
            "opaque/",
            "opaque/.wh..wh..opq",
            "opaque/new=y",
            "lib/through-symlink=here",
            "usr/lib/.wh.none",
            "etc/linked == usr/bin/app",
            "deep/er/hard-link == etc/c",
            "to-link == lib",
            "var/run/app/pid=1",
        ]),
        layer(&[
            "etc/.wh.b",
            "gone/",
            "gone/back=again",
            "usr/bin/app=replaced",
            "empty=",
            "etc/.wh..wh.aufs=",
        ]),
    ]
}

#[test]
fn layers_become_what_umoci_makes_of_them() {
    let layout = Layout::of(&layers());
    let (_environment, pool) = pool();
    let record = import(&pool, layout.path());
    let ours = unpack(&pool, &record);
    let found = listing(ours.path());
    for expected in [
        "etc/b",
        "gone/x",
        "etc/a",
        "opaque/gone",
        "opaque/sub/",
        "becomes-file/x",
        "etc/.wh.",
        ".wh.",
    ] {
        assert!(!found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
    for expected in [
        "usr/lib/through-symlink=here",
        "etc/linked=program",
        "usr/bin/alias=program",
        "usr/bin/app=replaced",
        "gone/back=again",
        "becomes-dir/x=new",
        "becomes-file=now",
        "opaque/new=y",
        "deep/er/hard-link=3",
        "to-link -> usr/lib",
        "run/app/pid=1",
        "lib -> usr/lib",
    ] {
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
    let bundle = tempfile::tempdir().unwrap();
    let layout = Layout::old(&layers());
    assert_eq!(import(&pool, layout.path()).digest, record.digest, "however layers are compressed");
    let image = format!("{}:latest", text(layout.path()));
    let theirs = bundle.path().join("rootfs");
    run("umoci", &["raw", "unpack", "--rootless", "--image", &image, text(&theirs)]);
    // umoci 0.4 does not apply a whiteout of AUFS's own files either, and makes parents with other modes.
    let plain = |lines: Vec<String>| -> Vec<String> {
        lines
            .into_iter()
            .map(|line| line.split("/ ").next().unwrap_or_default().to_owned())
            .collect()
    };
    for (ours, theirs) in plain(found).iter().zip(&plain(listing(&theirs))) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn one_image_is_the_same_template_in_whatever_it_comes() {
    let layout = Layout::old(&layers());
    let (_environment, pool) = pool();
    let record = import(&pool, layout.path());
    let archives = tempfile::tempdir().unwrap();
    let at = |name: &str| archives.path().join(name);
    let from = format!("oci:{}:latest", text(layout.path()));
    let copy = |to: &str, path: &Path| {
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                "-q",
                &from,
                &format!("{to}:{}:base:latest", text(path)),
            ],
        );
    };
    run("tar", &["-C", text(layout.path()), "-cf", text(&at("layout.tar")), "."]);
    run("tar", &["-C", text(layout.path()), "-czf", text(&at("layout.tar.gz")), "."]);
    copy("oci-archive", &at("skopeo.tar"));
    copy("docker-archive", &at("docker.tar"));
    fs::write(at("docker.tar.zst"), packed("zstd", &fs::read(at("docker.tar")).unwrap())).unwrap();
    for name in ["layout.tar", "layout.tar.gz", "skopeo.tar", "docker.tar", "docker.tar.zst"] {
        assert_eq!(import(&pool, &at(name)).digest, record.digest, "{name}");
    }
    let status = pool.template("base").unwrap().status().unwrap();
    let config = status.image.unwrap();
    assert_eq!(config.platform, format!("linux/{}", architecture()));
    assert_eq!(config.run.entrypoint, ["/bin/app"]);
    assert_eq!(config.run.env, ["PATH=/bin", "A=b"]);
    assert_eq!((config.run.working_dir.as_str(), config.run.user.as_str()), ("/srv", "app"));
    // The digest of the archive is one to ask for.
    let digest = Digest::parse(&hex_of(&fs::read(at("docker.tar")).unwrap())).unwrap();
    let spec = ImportSpec::new(at("docker.tar"), "other").digest(digest);
    assert_eq!(pool.import_template(&spec, &mut |_| ()).unwrap().digest, record.digest);
}

#[test]
fn the_platform_is_chosen_and_checked() {
    let (other, name) =
        if architecture() == "amd64" { ("arm64", "linux/arm64") } else { ("amd64", "linux/amd64") };
    let layout = Layout::new();
    let mut ours = layout.image(architecture(), &[layer(&["etc/", "etc/here=1"])], true);
    let mut theirs = layout.image(other, &[layer(&["etc/", "etc/there=1"])], true);
    ours["platform"] = json!({ "os": "linux", "architecture": architecture() });
    theirs["platform"] = json!({ "os": "linux", "architecture": other });
    let inner = json!({ "schemaVersion": 2, "manifests": [ours, theirs] });
    let inner = layout.document("application/vnd.oci.image.index.v1+json", &inner);
    layout.index(&[inner]);
    let (_environment, pool) = pool();
    let found = listing(unpack(&pool, &import(&pool, layout.path())).path());
    assert!(found.iter().any(|line| line.starts_with("etc/here")), "{found:?}");
    let spec = ImportSpec::new(layout.path(), "other");
    let platform: Platform = name.parse().unwrap();
    let record = pool.import_template(&spec.clone().platform(platform), &mut |_| ()).unwrap();
    let found = listing(unpack(&pool, &record).path());
    assert!(found.iter().any(|line| line.starts_with("etc/there")), "{found:?}");
    let riscv: Platform = "linux/riscv64".parse().unwrap();
    refused(&pool, &spec.platform(riscv), "--platform");
    // The index says nothing, but the configuration does.
    let single = Layout::new();
    single.index(&[single.image(other, &[layer(&["etc/"])], true)]);
    refused(&pool, &ImportSpec::new(single.path(), "c"), name);
}

#[test]
fn what_has_another_digest_is_refused() {
    let (_environment, pool) = pool();
    let all = layers();
    for number in 0..3 {
        let layout = Layout::of(&all);
        let blob = match number {
            0 => all[0].clone(),
            1 => packed("gzip", &all[1]),
            _ => packed("zstd", &all[2]),
        };
        let path = layout.blob_path(&blob);
        // A byte of a file's content, where no header is.
        let mut changed = fs::read(&path).unwrap_or_else(|e| panic!("{number}: {e}"));
        let at = if number == 0 { 6 * 512 + 3 } else { changed.len() - 9 };
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        refused(&pool, &ImportSpec::new(layout.path(), "a"), "layer");
        fs::remove_file(&path).unwrap();
        let error =
            pool.import_template(&ImportSpec::new(layout.path(), "a"), &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.report());
    }
    let layout = Layout::of(&all);
    let index = fs::read(layout.path().join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let path = layout.path().join("blobs/sha256").join(manifest);
    let longer = String::from_utf8(fs::read(&path).unwrap()).unwrap();
    fs::write(&path, longer.replace("schemaVersion", "schemaversion")).unwrap();
    refused(&pool, &ImportSpec::new(layout.path(), "a"), "other content");
    fs::write(&path, longer + " ").unwrap();
    refused(&pool, &ImportSpec::new(layout.path(), "a"), "bytes instead of");
}

#[test]
fn layers_that_cannot_be_applied_are_refused_by_name() {
    let (_environment, pool) = pool();
    for (lines, words) in [
        (&["a == none"][..], "hard link to /none, which is missing"),
        (&["a=1", "a/b=2"], "no directory"),
        (&["a/.wh."], "whiteout of no file"),
        (&["l -> l", "l/x=1"], "too many symlinks"),
        (&["lost+found=x", "etc/"], "ext4 reserves this name"),
    ] {
        let layout = Layout::of(&[layer(lines)]);
        let error =
            pool.import_template(&ImportSpec::new(layout.path(), "a"), &mut |_| ()).unwrap_err();
        assert!(error.report().contains(words), "{words}: {}", error.report());
    }
    // An image may have nothing, and a layer may be empty.
    let layout = Layout::of(&[layer(&[]), Vec::new()]);
    unpack(&pool, &import(&pool, layout.path()));
    let artifact = Layout::new();
    let config = artifact.blob("application/vnd.example.config+json", b"{}");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] });
    artifact.index(&[artifact.document("application/vnd.oci.image.manifest.v1+json", &manifest)]);
    refused(
        &pool,
        &ImportSpec::new(artifact.path(), "a"),
        "artifact of type application/vnd.example",
    );
    // An archive that is said to be an image, and is none.
    let plain = artifact.path().join("plain.tar");
    fs::write(&plain, layer(&["etc/", "etc/a=1"])).unwrap();
    let spec = ImportSpec::new(plain.as_path(), "a");
    refused(&pool, &spec.clone().format(ImportFormat::Oci), "--format rootfs");
    let large = pool.import_template(&spec.clone().size(512 * MIB), &mut |_| ()).unwrap();
    assert_eq!(large.size, 512 * MIB);
    refused(&pool, &spec.platform("linux/amd64".parse::<Platform>().unwrap()), "--platform");
}

#[test]
fn an_init_and_layers_are_added() {
    let layout = Layout::old(&layers());
    let extra = tempfile::tempdir().unwrap();
    let at = |name: &str| extra.path().join(name);
    fs::create_dir_all(at("directory/etc")).unwrap();
    fs::write(at("directory/etc/b"), "from the directory").unwrap();
    fs::write(at("layer.tar"), layer(&["etc/b=from the archive", "etc/.wh.c=plain", "lib/new=x"]))
        .unwrap();
    fs::write(at("init"), "#!/bin/sh\nexec /bin/app\n").unwrap();
    let (_environment, pool) = pool();
    let spec = ImportSpec::new(layout.path(), "base").init(at("init"));
    let both = spec.clone().layer(at("directory")).layer(at("layer.tar"));
    let record = pool.import_template(&both, &mut |_| ()).unwrap();
    let files = unpack(&pool, &record);
    let read = |path: &str| fs::read_to_string(files.path().join(path)).unwrap();
    assert_eq!(read("etc/b"), "from the archive");
    assert_eq!((read("etc/.wh.c").as_str(), read("etc/c").as_str()), ("plain", "3"));
    assert_eq!(read("usr/lib/new"), "x", "through the image's symlink");
    assert_eq!(read("sbin/init"), "#!/bin/sh\nexec /bin/app\n");
    assert_eq!(files.path().join("sbin/init").metadata().unwrap().mode() & 0o777, 0o755);
    let config: Value = serde_json::from_str(&read("etc/calf/image.json")).unwrap();
    assert_eq!(config["entrypoint"], json!(["/bin/app"]));
    assert_eq!(config["env"], json!(["PATH=/bin", "A=b"]));
    // The same again reads the layers again, which may have changed.
    let first = pool.import_template(&spec, &mut |_| ()).unwrap();
    assert_eq!(pool.import_template(&spec, &mut |_| ()).unwrap().digest, first.digest);
    fs::write(at("init"), "#!/bin/sh\nexec /bin/other\n").unwrap();
    assert_ne!(pool.import_template(&spec, &mut |_| ()).unwrap().digest, first.digest);
    // Without them, it is the image alone.
    let plain = unpack(&pool, &import(&pool, layout.path()));
    assert!(!plain.path().join("sbin").exists() && !plain.path().join("etc/calf").exists());
    fs::write(at("init"), "no program").unwrap();
    refused(&pool, &spec, "no program");
    let raw = extra.path().join("raw");
    fs::write(&raw, [7; 4096]).unwrap();
    refused(&pool, &ImportSpec::new(raw.as_path(), "c").layer(at("directory")), "--layer");
}
