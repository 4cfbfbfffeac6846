//! Will `mmap` succeed on a host, will every touch, and if not, which ledger refuses and what mends it?
//!
//! A [`Host`] is what a machine's own text says of it: `/proc`, `/sys`, control groups and the numbers of `statfs`.
//! [`Host::read`] takes the text from anything that is a [`HostFiles`]: this machine, a saved copy, a [`SavedHost`] in memory.
//! From then on all is arithmetic: [`would_map`], [`would_fault`] and [`mends`] are pure functions of a host and a [`Wish`],
//! and they ask the rules that the pools, mounts and charges themselves ask.
//!
//! ```
//! use hugefolio::explain::{FaultVerdict, Host, Question, SavedHost, Wish, would_fault};
//! use hugefolio::{Bytes, Machine, NodeId};
//!
//! let mut machine = Machine::builder().node(NodeId::new(0), Bytes::gib(1)).cmdline("hugepages=2").build()?;
//! let mut saved = SavedHost::of(&mut machine, &[]);
//! let host = Host::read(&mut saved, &Question::default())?;
//! let verdict = would_fault(&host, &Wish::unreserved(Bytes::mib(8)));
//! assert!(matches!(verdict, FaultVerdict::Stops { after, .. } if after.get() == 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decide;
mod files;
mod group;
mod host;
mod marks;
mod mend;
mod mounts;
mod read;
mod report;
mod state;
mod tree;
mod verdict;

pub use decide::{would_fault, would_map};
pub use files::{HostError, HostFiles, HostProblem, SavedHost};
pub use host::{GroupCount, Host, HostGroup, HostMount, HostNode, HostPool, MountLimits, Question};
pub use mend::{Mend, mends};
pub use mounts::StatFsText;
pub use report::Report;
pub use verdict::{FaultVerdict, GroupCounter, MapRefusal, MapVerdict, OverGroupLimit, Promise, TouchRefusal, Wish};
