//! Where an image is on the network.

use std::fmt;

#[cfg(feature = "http")]
use ureq::http::Uri;

use crate::error::{Error, ErrorKind, Result};

/// The `http` or `https` URL of an image.
///
/// Displayed without its query, which may hold a signature; credentials in front of the host are
/// refused. So what is displayed may be logged and kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageUrl {
    text: String,
    shown: String,
    https: bool,
}

impl ImageUrl {
    /// Whether a source is meant as a URL, rather than as the path of a file.
    pub fn is_meant(source: &str) -> bool {
        let begins = |with: &str| {
            source.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        begins("http://") || begins("https://")
    }

    /// Checks a URL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`; `Unsupported` for every URL where calf was built without the feature `http`.
    #[cfg(not(feature = "http"))]
    pub fn parse(_: &str) -> Result<Self> {
        let why = "this program was built without the feature `http` of calf";
        Err(Error::new(ErrorKind::Unsupported, "use", "the URL", why)
            .remedy("build it with that feature, or give the path of a file"))
    }

    /// Checks a URL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`; `Unsupported` for every URL where calf was built without the feature `http`.
    #[cfg(feature = "http")]
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &'static str, remedy: &'static str| {
            // Not shown: it may hold a password.
            Err(Error::new(ErrorKind::InvalidArgument, "use", "the URL", why).remedy(remedy))
        };
        const FORM: &str = "write it as https://host/path/image.raw";
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("it is malformed", FORM);
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("it has no scheme or no host", FORM);
        };
        if scheme != "http" && scheme != "https" {
            return refuse("its scheme is neither http nor https", FORM);
        }
        if authority.as_str().contains('@') {
            return refuse(
                "it holds a user name or password",
                "let the server know this machine by its address, or use a signed URL",
            );
        }
        let query = if uri.query().is_some() { "?…" } else { "" };
        Ok(Self {
            shown: format!("{scheme}://{authority}{}{query}", uri.path()),
            https: scheme == "https",
            text: text.to_owned(),
        })
    }

    /// The last component of its path.
    pub(crate) fn file_name(&self) -> &str {
        let path = self.text.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// The whole URL, for the request.
    #[cfg(feature = "http")]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the server proves who it is.
    #[cfg(feature = "http")]
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }
}

impl fmt::Display for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "http"))]
    #[test]
    fn urls_are_refused_by_naming_the_feature() {
        let error = ImageUrl::parse("https://example.org/a.img").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains("feature `http`"), "{}", error.report());
    }

    #[cfg(feature = "http")]
    #[test]
    fn urls_are_shown_without_secrets() {
        for (text, shown) in [
            ("https://example.org/a/b.img", "https://example.org/a/b.img"),
            ("http://[::1]:8080/b.img", "http://[::1]:8080/b.img"),
            ("https://s3.example/b.img?X-Amz-Signature=a/c", "https://s3.example/b.img?…"),
        ] {
            let url = ImageUrl::parse(text).unwrap();
            assert_eq!(url.file_name(), "b.img");
            assert_eq!((url.as_str(), url.to_string().as_str()), (text, shown));
        }
        for text in [
            "",
            "/a/b",
            "ftp://h/x",
            "https:///x",
            "http://",
            "https://u:secret@h/x",
            "http://a b/",
        ] {
            let error = ImageUrl::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(!error.report().contains("secret"), "{}", error.report());
        }
    }
}
