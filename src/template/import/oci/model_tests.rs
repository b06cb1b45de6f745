use super::*;

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn entry(platform: Option<&str>, digit: &str, media_type: &str) -> Descriptor {
    let digest = A.replace('a', digit).replace(&format!("sh{digit}256"), "sha256");
    let platform = platform.map(|text| {
        let parts: Vec<&str> = text.split('/').collect();
        let variant = parts.get(2).copied().unwrap_or_default();
        serde_json::json!({ "os": parts[0], "architecture": parts[1], "variant": variant })
    });
    let value = serde_json::json!(
        { "mediaType": media_type, "digest": digest, "size": 7, "platform": platform }
    );
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_image_for_the_platform_is_chosen() {
    let chosen = |list: &[Descriptor], wanted: &str| {
        choose(list, &wanted.parse().unwrap()).map(|one| one.digest[7..8].to_owned())
    };
    let list = [
        entry(Some("linux/amd64/v3"), "1", OCI),
        entry(Some("linux/amd64"), "2", OCI),
        entry(Some("linux/arm64/v8"), "3", OCI),
        entry(Some("unknown/unknown"), "4", OCI),
        entry(Some("linux/riscv64"), "5", "application/vnd.example"),
    ];
    assert_eq!(chosen(&list, "linux/amd64").unwrap(), "2");
    assert_eq!(chosen(&list, "linux/amd64/v3").unwrap(), "1");
    assert_eq!(chosen(&list, "linux/arm64").unwrap(), "3");
    let why = chosen(&list, "linux/riscv64").unwrap_err();
    assert!(why.contains("linux/amd64, linux/arm64/v8"), "{why}");
    // Where there is no choice, nobody says for which platform it is.
    assert_eq!(chosen(&[entry(None, "6", OCI)], "linux/arm64").unwrap(), "6");
    assert_eq!(chosen(&[entry(None, "6", "")], "linux/arm64").unwrap(), "6");
    assert!(chosen(&[entry(None, "6", OCI), entry(None, "7", OCI)], "linux/arm64").is_err());
    assert!(chosen(&[], "linux/arm64").unwrap_err().contains("no image"));
    // Two that are the same are one.
    let twice = [entry(Some("linux/amd64"), "1", OCI), entry(Some("linux/amd64"), "1", OCI)];
    assert_eq!(chosen(&twice, "linux/amd64").unwrap(), "1");
    let two = [entry(Some("linux/amd64"), "1", OCI), entry(Some("linux/amd64"), "2", OCI)];
    assert!(chosen(&two, "linux/amd64").unwrap_err().contains("several"));
}

fn manifest(config: &str, layers: &[&str]) -> String {
    let of = |kind: &str| format!(r#"{{"mediaType": "{kind}", "digest": "{A}", "size": 2}}"#);
    let layers: Vec<String> = layers.iter().map(|layer| of(layer)).collect();
    let (config, layers) = (of(config), layers.join(", "));
    format!(r#"{{"schemaVersion": 2, "config": {config}, "layers": [{layers}]}}"#)
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let parse = |text: &str| parse(text.as_bytes());
    for layer in [
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ] {
        let parsed = parse(&manifest(CONFIGS[0], &[layer])).unwrap();
        assert!(matches!(parsed, Parsed::Manifest(Manifest { layers, .. }) if layers.len() == 1));
    }
    for (text, words) in [
        (
            manifest("application/vnd.cncf.helm.config.v1+json", &[LAYERS[0], LAYERS[0]]),
            "artifact of type application/vnd.cncf.helm.config.v1+json with 2 files",
        ),
        (manifest("application/vnd.oci.empty.v1+json", &[]), "with 0 files"),
        (manifest("text/plain", &["application/octet-stream+encrypted"]), "encrypted"),
        (manifest(CONFIGS[0], &["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]), ""),
        (manifest(CONFIGS[0], &["application/vnd.oci.image.encrypted"]), "encrypted"),
        (manifest(CONFIGS[0], &["text/plain"]), "type text/plain"),
        (r#"{"schemaVersion": 1, "fsLayers": []}"#.to_owned(), "2016"),
        ("{}".to_owned(), "neither"),
        ("[1]".to_owned(), "neither"),
        ("{".to_owned(), "neither"),
        (r#"{"mediaType": "x", "manifests": []}"#.to_owned(), "neither"),
    ] {
        match parse(&text) {
            Err(why) => assert!(why.contains(words), "{why}"),
            Ok(_) => assert!(words.is_empty(), "{text}"),
        }
    }
    let layers = vec![serde_json::json!({ "mediaType": LAYERS[0], "digest": A, "size": 3 }); 1001];
    let many = serde_json::json!({ "config": { "mediaType": CONFIGS[0], "digest": A, "size": 2 }, "layers": layers });
    assert!(parse(&many.to_string()).unwrap_err().contains("1001 layers"));
}

#[test]
fn an_artifact_of_one_file_is_that_file() {
    let text = manifest("application/vnd.oci.empty.v1+json", &["application/octet-stream"]);
    let parsed = parse(text.as_bytes()).unwrap();
    assert!(matches!(parsed, Parsed::Artifact(file) if file.size == 2));
}

#[test]
fn digests_of_other_algorithms_are_refused() {
    parse_digest(A).unwrap();
    assert!(parse_digest("sha512:00").unwrap_err().contains("algorithm"));
    assert!(parse_digest("sha256:00").unwrap_err().contains("no SHA-256"));
    assert!(parse_digest("sha256:../../../../etc/passwd").is_err());
}

#[test]
fn configurations_of_all_tools_are_understood() {
    let config = Config::parse(
        br#"{"architecture": "amd64", "os": "linux", "config": {"Env": null, "Cmd": ["sh"], "User": "1:2",
            "Labels": {"a": "b"}}, "rootfs": {"type": "layers", "diff_ids": []}, "history": [{}]}"#,
    )
    .unwrap();
    assert_eq!(config.platform().to_string(), "linux/amd64");
    let run = config.run();
    assert_eq!((run.cmd, run.user, run.env), (vec!["sh".to_owned()], "1:2".to_owned(), Vec::new()));
    assert_eq!(Config::parse(br#"{"os": "linux", "config": null}"#).unwrap().run(), Run::default());
    assert!(Config::parse(b"[]").is_err());
}
