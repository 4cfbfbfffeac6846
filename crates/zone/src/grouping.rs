//! Whether types count.

/// Whether pages are grouped by what they can do.
#[doc(alias = "page_group_by_mobility_disabled")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// They are.
    #[default]
    ByMobility,
    /// There is too little memory for that: every request counts as unmovable, and so does every block that gets a type.
    Off,
}
