//! What an administrator lets pods ask of inline volumes.
//!
//! Whoever may create a pod writes the attributes of its inline volumes: no StorageClass and no quota stands
//! between them and the node.

use std::fmt;
use std::str::FromStr;

use crate::api::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::{Backing, Durability, Reserve};
use crate::model::template_name;
use crate::model::units::format_size;
use crate::model::volume::VolumeSpec;

const OPERATION: &str = "make inline volume";

/// What pods may ask of inline volumes. The default is that there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InlineCaps {
    /// Whether pods may have inline volumes.
    pub enabled: bool,
    /// The largest size in bytes; `None` for that of all volumes.
    pub max_size: Option<u64>,
    /// Most that a volume may write, in bytes, and what a volume may write that asks for no limit; `None`
    /// for no bound. Private copies have no limits.
    pub max_cow_limit: Option<u64>,
    /// Whether volumes may reserve their space.
    pub reserve: bool,
    /// Whether volumes may be durable.
    pub durable: bool,
    /// The templates that volumes may start from; if empty, all.
    pub templates: Vec<TemplatePattern>,
}

/// The name of a template, or the start of names followed by `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplatePattern(String);

impl TemplatePattern {
    fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }
}

impl InlineCaps {
    /// Refuses a new volume that goes beyond what is allowed. Sets the limit of one that asks for none.
    pub(super) fn apply(&self, pool: &Pool, mut spec: VolumeSpec) -> Result<VolumeSpec> {
        if !self.enabled {
            let why = "inline volumes are switched off on this node";
            return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, &spec.id, why).remedy(
                "use a claim instead (a generic ephemeral volume), or have an administrator allow them: \
                 --inline-volumes, `inlineVolumes.enabled` in the chart",
            ));
        }
        self.check_template(&spec)?;
        self.check_policies(&spec)?;
        if let Some(most) = self.max_size {
            let size = match spec.size {
                Some(size) => size,
                None => pool.template(&spec.template)?.record()?.size,
            };
            bound(&spec, "size", size, most, "--inline-max-size", "maxSize")?;
        }
        match (self.max_cow_limit, spec.cow_limit) {
            (Some(most), Some(limit)) => {
                bound(&spec, "cowLimit", limit, most, "--inline-max-cow-limit", "maxCowLimit")?;
            }
            (Some(most), None) if pool.backing()? == Backing::Snapshot => {
                spec.cow_limit = Some(most);
            }
            _ => {}
        }
        Ok(spec)
    }

    fn check_template(&self, spec: &VolumeSpec) -> Result<()> {
        let name = &spec.template;
        if self.templates.is_empty() || self.templates.iter().any(|pattern| pattern.matches(name)) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.templates.iter().map(|pattern| pattern.0.as_str()).collect();
        let why =
            format!("it is to start from template {name}, and allowed are {}", allowed.join(", "));
        Err(refused(spec, ErrorKind::InvalidArgument, why, "--inline-templates", "templates"))
    }

    fn check_policies(&self, spec: &VolumeSpec) -> Result<()> {
        let asked = [
            (spec.reserve == Reserve::Full && !self.reserve, "reserve: full"),
            (spec.durability == Durability::Durable && !self.durable, "durability: durable"),
        ];
        match asked.into_iter().find(|(refused, _)| *refused) {
            None => Ok(()),
            Some((_, attribute)) => {
                let why = format!("it asks for `{attribute}`, which inline volumes may not");
                Err(refused(spec, ErrorKind::InvalidArgument, why, "--inline-allow", "allow"))
            }
        }
    }
}

fn bound(
    spec: &VolumeSpec,
    attribute: &str,
    asked: u64,
    most: u64,
    flag: &str,
    value: &str,
) -> Result<()> {
    if asked <= most {
        return Ok(());
    }
    let why = format!(
        "its {attribute} is {}, and inline volumes may have {} here",
        format_size(asked),
        format_size(most),
    );
    Err(refused(spec, ErrorKind::OutOfRange, why, flag, value))
}

fn refused(spec: &VolumeSpec, kind: ErrorKind, why: String, flag: &str, value: &str) -> Error {
    Error::new(kind, OPERATION, &spec.id, why).remedy(format!(
        "change the volume's attributes in the pod; an administrator sets what is allowed: {flag}, \
         `inlineVolumes.{value}` in the chart"
    ))
}

// === impl Display, FromStr ===

impl fmt::Display for TemplatePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TemplatePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let start = text.strip_suffix('*').unwrap_or(text);
        if template_name::is_valid(start) || text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let why = "it is neither a template's name nor the start of names";
        Err(Error::invalid(format_args!("template pattern {text:?}"), why)
            .remedy("give names such as debian-12, or their start such as debian-*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_their_start() {
        for (pattern, fits, other) in [
            ("debian-12", "debian-12", "debian-12.5"),
            ("debian-*", "debian-12", "debian"),
            ("*", "anything", ""),
        ] {
            let pattern: TemplatePattern = pattern.parse().unwrap();
            assert!(pattern.matches(fits), "{pattern}");
            assert!(other.is_empty() || !pattern.matches(other), "{pattern}");
        }
        for text in ["", "a*b", "**", "../x", "a,b", "-*"] {
            let error = text.parse::<TemplatePattern>().unwrap_err();
            assert!(error.report().contains("debian-*"), "{}", error.report());
        }
    }
}
