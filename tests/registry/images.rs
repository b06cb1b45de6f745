//! Images that umoci made and skopeo pushed.

use std::fs;
use std::path::PathBuf;

use calf::{DownloadOptions, ImageReference, ImportSource, ImportSpec, Pool, TemplateRecord};
use calf_test_kit::programs::{hex_of, run, text};
use calf_test_kit::simulated_pool::{Environment, ext4_image};

use crate::server::{PASSWORD, Registry, USER};

/// An OCI layout with one image, made of directories.
struct Layout(tempfile::TempDir);

impl Layout {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = Self(directory);
        run("umoci", &["init", "--layout", text(&layout.path())]);
        run("umoci", &["new", "--image", &layout.image()]);
        layout
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("layout")
    }

    fn image(&self) -> String {
        format!("{}:latest", text(&self.path()))
    }

    /// Adds a layer: a file at a path in the image.
    fn add(&self, path: &str, content: &[u8]) -> &Self {
        let file = self.0.path().join("file");
        fs::write(&file, content).expect("a file");
        run("umoci", &["insert", "--rootless", "--image", &self.image(), text(&file), path]);
        self
    }

    fn push(&self, registry: &Registry, name: &str, options: &[&str]) {
        let (from, to) =
            (format!("oci:{}", self.image()), format!("docker://{}/{name}", registry.address));
        let copy = ["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"];
        run("skopeo", &[&copy, options, &[&from, &to]].concat());
    }
}

/// A root file system of three layers.
fn system(version: &str) -> Layout {
    let layout = Layout::new();
    layout.add("/etc/version", version.as_bytes());
    layout.add("/usr/bin/app", &vec![7; 3 << 20]).add("/etc/version.old", b"none");
    layout
}

fn pool(auth: Option<PathBuf>) -> (Environment, Pool) {
    let environment = Environment::new();
    let path = environment.directory.path().join("pool");
    let downloads = DownloadOptions::default().registry_auth(auth);
    let pool = environment.options().downloads(downloads).open(path).expect("a pool");
    (environment, pool)
}

fn import(pool: &Pool, source: impl Into<ImportSource>) -> calf::Result<TemplateRecord> {
    pool.import_template(&ImportSpec::new(source, "app"), &mut |_| ())
}

fn in_registry(registry: &Registry, name: &str) -> ImportSource {
    let text = format!("docker://{}/{name}", registry.address);
    ImportSource::Registry(ImageReference::parse(&text).expect("a reference"))
}

pub(crate) fn as_its_layout() {
    let registry = Registry::open();
    let layout = system("1");
    layout.push(&registry, "team/app:gzip", &[]);
    layout.push(&registry, "team/app:zstd", &["--dest-compress-format", "zstd"]);
    layout.push(&registry, "team/app:docker", &["--format", "v2s2"]);
    let (_environment, pool_of_layout) = pool(None);
    let expected = import(&pool_of_layout, layout.path().as_path()).expect("an import");
    for tag in ["gzip", "zstd", "docker"] {
        let (_environment, pool) = pool(None);
        let record = import(&pool, in_registry(&registry, &format!("team/app:{tag}")));
        let record = record.unwrap_or_else(|error| panic!("{tag}: {}", error.report()));
        assert_eq!(record.digest, expected.digest, "{tag}");
    }
    let (_environment, pool) = pool(None);
    let error = import(&pool, in_registry(&registry, "team/app:none")).expect_err("no such tag");
    assert!(error.report().contains("team/app:none"), "{}", error.report());
}

pub(crate) fn moved() {
    let registry = Registry::open();
    system("1").push(&registry, "team/app:latest", &[]);
    let (_environment, pool) = pool(None);
    let first = import(&pool, in_registry(&registry, "team/app")).expect("an import");
    let (_, digest) = first.source.rsplit_once('@').expect("the digest that the tag led to");
    let pinned = in_registry(&registry, &format!("team/app@{digest}"));
    system("2").push(&registry, "team/app:latest", &[]);
    let second = import(&pool, in_registry(&registry, "team/app")).expect("an import");
    assert_ne!(second.digest, first.digest);
    assert_eq!(import(&pool, pinned).expect("an import").digest, first.digest);
}

pub(crate) fn credentials() {
    let registry = Registry::closed();
    system("1").push(&registry, "team/app:1", &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    let (environment, without) = pool(None);
    let error = import(&without, in_registry(&registry, "team/app:1")).expect_err("no credentials");
    assert!(error.report().contains("--registry-auth-file"), "{}", error.report());
    let file = environment.directory.path().join("auth.json");
    let (user, address) = (format!("{USER}:{PASSWORD}"), &registry.address);
    run(
        "skopeo",
        &[
            "login",
            "--tls-verify=false",
            "--authfile",
            text(&file),
            "--username",
            USER,
            "--password",
            PASSWORD,
            address,
        ],
    );
    assert!(!fs::read_to_string(&file).expect("credentials").contains(&user));
    let (_environment, with) = pool(Some(file));
    import(&with, in_registry(&registry, "team/app:1")).expect("an import");
}

pub(crate) fn container_disk() {
    let registry = Registry::open();
    let directory = tempfile::tempdir().expect("a directory");
    let (raw, qcow2) = (directory.path().join("raw"), directory.path().join("qcow2"));
    let mut disk = ext4_image(0xcd);
    disk.resize(8 << 20, 0);
    fs::write(&raw, &disk).expect("a disk");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-c", text(&raw), text(&qcow2)]);
    let layout = Layout::new();
    layout.add("/disk/disk.qcow2", &fs::read(&qcow2).expect("a disk"));
    layout.push(&registry, "team/disk:1", &[]);
    let (_environment, pool) = pool(None);
    let record = import(&pool, in_registry(&registry, "team/disk:1")).expect("an import");
    assert_eq!(record.digest.as_str(), hex_of(&disk));
}
