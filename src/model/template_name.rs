//! The rules for names of templates.
//!
//! A name is a file name in the pool and a value in a StorageClass, so it must be safe in both: no
//! separators, no leading dot, no need for quotes.

use crate::error::{Error, ErrorKind, Result};

/// Maximum length of a name in bytes, as for names in CSI.
const MAX_LENGTH: usize = 128;

/// Whether a template may have this name.
pub(crate) fn is_valid(name: &str) -> bool {
    problem(name).is_none()
}

/// Refuses a name that no template may have.
pub(crate) fn check(operation: &'static str, name: &str) -> Result<()> {
    let Some(problem) = problem(name) else { return Ok(()) };
    let subject = format!("template {name:?}");
    Err(Error::new(ErrorKind::InvalidArgument, operation, subject, problem).remedy(
        "use 1 to 128 letters, digits, '.', '_' and '-', and start with a letter or a digit, such as debian-12.5",
    ))
}

fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("the name is empty".into());
    }
    if name.len() > MAX_LENGTH {
        return Some(format!("the name has {} bytes, the limit is {MAX_LENGTH}", name.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        return Some(format!("the name must not contain {c:?}"));
    }
    let first = name.chars().next()?;
    (!first.is_ascii_alphanumeric()).then(|| format!("the name must not start with {first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_names_are_valid() {
        for name in ["a", "debian-12.5", "Ubuntu_24.04", "0", &"x".repeat(128)] {
            assert!(is_valid(name), "{name}");
        }
    }

    #[test]
    fn a_refusal_states_the_fault() {
        for (name, why) in [
            ("", "empty"),
            (&"x".repeat(129), "129 bytes"),
            ("a/b", "'/'"),
            ("..", "start with '.'"),
            ("-v", "start with '-'"),
            ("a b", "' '"),
            ("näme", "'ä'"),
            ("a\0", "'\\0'"),
        ] {
            let report = check("import", name).unwrap_err().report();
            assert!(report.contains(why), "{report}");
        }
    }

    proptest! {
        #[test]
        fn a_valid_name_is_a_single_visible_path_component(name in "\\PC{0,140}") {
            if is_valid(&name) {
                let path = std::path::Path::new(&name);
                prop_assert_eq!(path.file_name(), Some(path.as_os_str()));
                prop_assert!(!name.starts_with('.') && name.len() <= 128);
            }
        }
    }
}
