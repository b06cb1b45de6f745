//! Lists of digests, as publishers put them beside their images (`SHA256SUMS`).

use crate::error::{Error, Result};
use crate::model::digest::Digest;

/// Finds the SHA-256 of the file `name` in a list of checksums, such as a publisher's `SHA256SUMS`: lines as
/// `sha256sum` writes them, or with its option `--tag`. Other lines, such as those of a signature, are
/// skipped. Of paths, only the last component counts.
///
/// # Errors
///
/// `InvalidArgument` if the list has none or several.
pub fn digest_in_checksums(list: &str, name: &str) -> Result<Digest> {
    let mut found: Vec<Digest> = list
        .lines()
        .filter_map(entry)
        .filter(|(_, file)| base(file) == base(name))
        .map(|(digest, _)| digest)
        .collect();
    found.dedup();
    let subject = format_args!("list of checksums for {:.200?}", base(name));
    match found.as_slice() {
        [digest] => Ok(digest.clone()),
        [] => Err(Error::invalid(subject, "it has no SHA-256 of a file of this name").remedy(
            "give the list that was published with the image, or the digest itself (--sha256)",
        )),
        _ => Err(Error::invalid(subject, "it has several SHA-256 of files of this name")
            .remedy("give the digest itself (--sha256)")),
    }
}

/// The digest and the file of a line, if it has them.
fn entry(line: &str) -> Option<(Digest, &str)> {
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (file, digits) = rest.rsplit_once(") = ")?;
        return Some((Digest::parse(digits).ok()?, file));
    }
    // A space for text or an asterisk for binary stands before the name, after a space.
    let (digits, file) = line.split_once(' ')?;
    let file = file.strip_prefix([' ', '*']).unwrap_or(file);
    Some((Digest::parse(digits).ok()?, file))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_usual_programs_name_the_digest() {
        let (one, two) = ("0".repeat(64), "1".repeat(64));
        for list in [
            format!("{two}  other.img\n{one}  a.img.xz\n"),
            format!("{one} *a.img.xz\r\n{two} *a.img\r\n"),
            format!("SHA256 (a.img.xz) = {one}\nSHA256 (b) = {two}\n"),
            format!("{one}  ./images/a.img.xz\n{one}  a.img.xz"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{one}  a.img.xz\n-----BEGIN PGP SIGNATURE-----\nabc\n"
            ),
        ] {
            for name in ["a.img.xz", "/images/a.img.xz"] {
                assert_eq!(digest_in_checksums(&list, name).unwrap().as_str(), one, "{list}");
            }
        }
    }

    #[test]
    fn what_names_no_digest_or_two_is_refused() {
        let (one, two) = ("0".repeat(64), "1".repeat(64));
        for (list, word) in [
            (String::new(), "no SHA-256"),
            (format!("{one}  a.img.xz.asc\n"), "no SHA-256"),
            (format!("{}  a.img.xz\n", "0".repeat(128)), "no SHA-256"),
            (format!("{one}  a.img.xz\n{two}  old/a.img.xz\n"), "several"),
        ] {
            let report = digest_in_checksums(&list, "a.img.xz").unwrap_err().report();
            assert!(report.contains(word) && report.contains("--sha256"), "{list}: {report}");
        }
    }
}
