//! Who may wait.

/// Where a path runs: whether whoever runs it may wait for memory and for others.
#[doc(alias("in_atomic", "might_sleep", "in_task"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// In a task that may wait.
    Sleepable,
    /// In an interrupt, or where nobody may wait: what needs memory is put off.
    Atomic,
}
