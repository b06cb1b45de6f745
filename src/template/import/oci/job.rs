//! What an image is to be made into.

use crate::error::Result;
use crate::template::import::files::on_top::OnTop;
use crate::template::import::staging::Staging;
use crate::template::import::state::Derived;
use crate::template::spec::ImportSpec;

/// What is to become of an image.
pub(crate) struct Job<'a> {
    pub(crate) staging: &'a Staging<'a>,
    pub(crate) shown: &'a str,
    pub(crate) derived: Derived,
    pub(crate) spec: &'a ImportSpec,
    /// What is added to the layers.
    pub(crate) on_top: &'a OnTop,
    /// Asked at the end: fails if the source changed meanwhile.
    pub(crate) check: &'a dyn Fn() -> Result<()>,
}
