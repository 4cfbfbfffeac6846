//! What kernels did differently, and a machine can do in either way.

use memmap::REFS_MAX;

/// Which of several ways a machine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Behaviour {
    /// What `MADV_COLLAPSE` does.
    pub collapse: CollapseRule,
    /// How many references a page can have before who maps it once more is refused: 2,147,483,647 unless said otherwise.
    pub references_max: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { collapse: CollapseRule::default(), references_max: REFS_MAX }
    }
}

/// What `MADV_COLLAPSE` does where it cannot do what it is for. No kernel was released with pages in pieces; two versions were proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum CollapseRule {
    /// As released kernels where no page of the area can be in pieces: refused. A page with broken memory stays in pieces.
    #[default]
    Released,
    /// As first proposed: nothing happens to a shared area whose pages cannot be in pieces, and a page with broken memory is an error.
    First,
    /// As proposed the second time: nothing happens to such an area, and a page with broken memory stays in pieces.
    Second,
}
