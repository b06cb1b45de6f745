//! The command and the network: images by URL, and the checks of `serve`'s options.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs;
use std::time::Duration;

use calf_test_kit::command_line::{TestEnv, digest};
use calf_test_kit::http_server::{HttpServer, Reply};
use sha2::{Digest as _, Sha256};

const MIB: usize = 1 << 20;

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

#[test]
fn an_image_comes_by_url() {
    let env = TestEnv::new();
    let content = vec![7; MIB];
    let web = HttpServer::start({
        let content = content.clone();
        move |_, request| match request.path.as_str() {
            "/base.img?key=secret" => Reply::body(&content),
            _ => Reply::status(404),
        }
    });
    let url = web.url("/base.img?key=secret");
    let right = sha256(&content);
    let import = ["template", "import", &url, "--name", "base"];

    let run = env.run(&import);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("--sha256"), "{}", run.stderr);
    let run = env.run(&[&import[..], &["--sha256", &"0".repeat(64)]].concat());
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains(&right), "{}", run.stderr);
    let elsewhere = web.url("/other.img");
    let run = env.run(&["template", "import", &elsewhere, "--name", "base", "--sha256", &right]);
    assert_eq!(run.code, Some(3), "{run:?}");

    let run = env.ok(&[&import[..], &["--sha256", &right]].concat());
    assert!(run.stdout.contains(&format!("sha256:{right}")), "{}", run.stdout);
    assert!(run.stderr.contains("100 %"), "{}", run.stderr);
    assert_eq!(digest(&env.content("base")), right);
    let shown = env.json(&["template", "inspect", "base"]);
    assert_eq!(shown["source"], web.url("/base.img?…"));
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let env = TestEnv::new();
    let mut content = vec![0x5A; 160 * MIB];
    for (number, page) in content.chunks_mut(4096).enumerate() {
        page[..8].copy_from_slice(&number.to_le_bytes());
    }
    let right = sha256(&content);
    let web = HttpServer::start(move |n, request| match n {
        0 => Reply { hang: Duration::from_secs(60), ..Reply::body(&content).cut(150 * MIB) },
        _ => Reply::range(&content, request),
    });
    let url = web.url("/base.img");
    let import = ["-v", "template", "import", &url, "--name", "base", "--sha256", &right];
    let mut child = env.command(&import).spawn().unwrap();
    let recorded = || {
        let entries = fs::read_dir(env.pool().join("images")).ok()?;
        let record =
            entries.flatten().find_map(|entry| fs::read(entry.path().join("import.json")).ok());
        let record: serde_json::Value = serde_json::from_slice(&record?).ok()?;
        record["state"]["reading"]["offset"].as_u64()
    };
    while recorded().unwrap_or(0) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = env.ok(&import);
    assert!(run.stderr.contains("resuming the import"), "{}", run.stderr);
    assert_eq!(web.requests()[1].from(), Some(128 * MIB));
    assert_eq!(digest(&env.content("base")), right);
}

#[test]
fn serve_refuses_options_that_cannot_be() {
    let env = TestEnv::new();
    let list = env.path("templates.json");
    fs::write(&list, r#"{"templates": [{"name": "a", "source": "https://h/a.img"}]}"#).unwrap();
    let list = list.to_str().unwrap();
    let missing = env.path("missing.json");
    let socket = env.path("csi.sock");
    let serve = ["serve", "--endpoint", socket.to_str().unwrap(), "--node-id", "n"];
    for (options, code, word) in [
        (&["--templates", list][..], 2, "sha256"),
        (&["--templates", missing.to_str().unwrap()], 3, "missing.json"),
        (&["--kubernetes-events"], 2, "KUBERNETES_SERVICE_HOST"),
        (&["--metrics-address", "9810"], 2, "--metrics-address"),
        (&["--max-volume-size", "0"], 2, "--max-volume-size"),
        (&["--max-volume-size", "16Ti"], 2, "15Ti"),
        (&["--parallel-imports", "0"], 2, "from 1 to 64"),
    ] {
        let run = env.run(&[&serve[..], options].concat());
        assert_eq!(run.code, Some(code), "{options:?}: {run:?}");
        assert!(run.stderr.contains(word), "{options:?}: {}", run.stderr);
    }
    assert!(!env.pool().exists(), "a mistake makes nothing");
}

#[test]
fn udev_rules_are_installed_where_they_are_wanted() {
    let env = TestEnv::new();
    let directory = env.path("rules.d");
    let install = ["udev-rules", "--install", directory.to_str().unwrap()];
    assert_eq!(env.json(&install)["changed"], true);
    assert_eq!(env.json(&install)["changed"], false);
    let installed = fs::read_to_string(directory.join("10-calf.rules")).unwrap();
    assert_eq!(installed, env.ok(&["udev-rules"]).stdout);
}
