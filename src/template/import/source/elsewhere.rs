//! Sources that users name but calf does not read: object stores, registries.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

const FETCH: &str = "fetch the image to a file first, or give an http(s) URL";
const SIGN: &str = "give an https URL, such as a signed one (`aws s3 presign`, `gcloud storage sign-url`), \
                    or fetch the image to a file first";
const CONTAINER: &str = "copy it to an archive, and import that: `skopeo copy containers-storage:IMAGE \
                         oci-archive:image.tar && calf template import image.tar`";
const REGISTRY: &str =
    "if it is the name of an image in a registry, write it with docker:// in front";
const PATH: &str = "give only the path of the directory or archive: calf sees what it is";
const FILE: &str = "give only the path, without file:// and the host";

/// How skopeo and podman name the locations of container images.
const TRANSPORTS: [&str; 6] =
    ["docker:", "oci:", "docker-archive:", "oci-archive:", "docker-daemon:", "containers-storage:"];

/// Those of them with the path of a file or directory behind it.
const PATHS: [&str; 3] = ["oci:", "docker-archive:", "oci-archive:"];

/// Refuses a source that is neither the path of a file nor an http(s) URL.
pub(crate) fn refuse(source: &str) -> Result<()> {
    // Errors show only the scheme, since the rest may contain a password.
    let refused = |subject: &str, why: &'static str, remedy: &'static str| {
        Err(Error::new(ErrorKind::InvalidArgument, "import", subject, why).remedy(remedy))
    };
    let transport = TRANSPORTS.iter().find(|transport| source.starts_with(**transport));
    if let Some(transport) = transport {
        let remedy = match *transport {
            "docker:" => REGISTRY,
            path if PATHS.contains(&path) => PATH,
            _ => CONTAINER,
        };
        return refused(&format!("{transport}…"), "calf does not know it as a source", remedy);
    }
    let Some(scheme) = scheme(source) else { return Ok(()) };
    let (why, remedy) = match scheme.to_ascii_lowercase().as_str() {
        "file" => ("calf reads paths, not file URLs", FILE),
        "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss" | "wasb" | "swift" => {
            ("calf does not use the APIs of object stores", SIGN)
        }
        _ => ("calf reads files, block devices, and http(s) URLs", FETCH),
    };
    refused(&format!("{scheme}://…"), why, remedy)
}

/// The scheme of a URL.
fn scheme(source: &str) -> Option<&str> {
    let (scheme, _) = source.split_once("://")?;
    let mut letters = scheme.chars();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on = letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (begins && goes_on).then_some(scheme)
}

/// A remedy for a path that does not exist, if it looks like the name of an image in a registry.
pub(crate) fn remedy_for_missing(path: &Path) -> Option<&'static str> {
    let text = path.to_str().filter(|_| path.is_relative())?;
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let host = match name.split_once('/') {
        Some((host, _)) => host.contains(['.', ':']) && !host.starts_with('.'),
        None => false,
    };
    let is_file = Path::new(name).extension().is_some() && name.contains('/') || name.is_empty();
    ((host || tag.is_some() || text.contains("@sha256:")) && !is_file).then_some(REGISTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calf_does_not_read_is_refused_with_the_way_out() {
        for (source, subject, remedy) in [
            ("s3://bucket/key.img", "s3://…", "aws s3 presign"),
            ("GS://bucket/key.img", "GS://…", "sign-url"),
            ("file:///images/a.img", "file://…", "only the path"),
            ("ftp://user:secret@host/a.img", "ftp://…", "fetch the image"),
            ("docker:debian:12", "docker:…", "docker://"),
            ("containers-storage:debian:12", "containers-storage:…", "skopeo copy"),
            ("oci:directory:latest", "oci:…", "only the path"),
            ("docker-archive:image.tar", "docker-archive:…", "only the path"),
        ] {
            let error = refuse(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{source}");
            let said = error.report();
            assert!(said.contains(subject) && said.contains(remedy), "{source}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        for path in ["a.img", "/images/a.img", "./-", "a:b.img", "1://x", "://x", "images/a b://c"]
        {
            refuse(path).unwrap();
        }
    }

    #[test]
    fn a_name_of_a_registry_is_known_by_its_form() {
        for (path, is_named) in [
            ("docker.io/library/debian", true),
            ("docker.io/library/debian:12.5", true),
            ("localhost:5000/app", true),
            ("ghcr.io/a/b@sha256:0123", true),
            ("debian:12", true),
            ("debian@sha256:0123", true),
            ("debian.img", false),
            ("images/debian", false),
            ("images.d/debian.img", false),
            ("./images.d/debian", false),
            ("../debian", false),
            ("/docker.io/library/debian", false),
            ("", false),
        ] {
            assert_eq!(remedy_for_missing(Path::new(path)).is_some(), is_named, "{path}");
        }
    }
}
