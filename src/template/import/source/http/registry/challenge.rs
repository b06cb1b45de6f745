//! What a registry answers to those whom it does not know (`WWW-Authenticate`). Pure.

/// How to prove who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By user name and password.
    Basic,
    /// By a token from the server at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Parses the header; `None` for other ways.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest;
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = value(after)?;
            match name.trim_start_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = after;
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// A value, in quotes or not, and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(value, after)| (value.to_owned(), after)),
        None => {
            let end = text.find([',', ' ']).unwrap_or(text.len());
            Some((text[..end].to_owned(), &text[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        for (header, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            ("Negotiate", None),
            ("", None),
            ("Bearer", None),
            ("Bearer scope=\"a\"", None),
            ("Bearer realm=\"open", None),
            ("bearer realm=\"https://a/t\"", bearer("https://a/t", None, None)),
            (
                "Bearer realm=\"https://a/t\",service=\"r\", scope=\"repository:a/b:pull,push\",error=x",
                bearer("https://a/t", Some("r"), Some("repository:a/b:pull,push")),
            ),
            ("Bearer service=r,realm=https://a/t", bearer("https://a/t", Some("r"), None)),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }
}
