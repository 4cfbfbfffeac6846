//! The running kernel as a target: the operations of scripts done in earnest, on the huge pages of this host.
//!
//! [`Running`] answers as the recordings do. Processes of a script are processes of the system, which do one call at a time. Mounts and
//! segments live in namespaces of their own; knobs and control groups are the host's, and are put back after success, failure and an
//! interrupt. What a killed run leaves behind is put back when the next one starts.
//!
//! It needs root, an idle pool of 2 MiB pages and one memory node, and keeps to [`bounds`]. On a system that is no Linux on x86-64
//! everything here still builds, and [`Running::start`] says so.

pub mod bounds;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod absent;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod actor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod errno;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod groups;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod host;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod lacks;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod message;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod mounts;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pools;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod repair;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod running;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod snapshot;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sys;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod worker;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub use absent::Running;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use running::Running;

/// Why the running kernel cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system is another one.
    #[error("not on this system: live runs need Linux on x86-64")]
    NotHere,
    /// The host lacks something.
    #[error("the host lacks {0}")]
    Lacks(String),
    /// Somebody uses the huge pages of the host.
    #[error("the huge pages of the host are in use: {0}; nothing was changed")]
    InUse(String),
    /// A part of the system refuses what a run needs first.
    #[error("the host cannot be prepared: {0}")]
    Refused(String),
    /// The host is not as it was, and cannot be mended from here.
    #[error("{0}")]
    Damaged(#[from] Damage),
}

/// What could not be put back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host is not as it was before: {}", .0.join("; "))]
pub struct Damage(pub Vec<String>);
