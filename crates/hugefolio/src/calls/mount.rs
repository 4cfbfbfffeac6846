//! Mounting by the text of the options.

use hugetlb::Hstates;
use hugetlbfs::{FileOwner, MountError, MountOptions};
use units::{Blame, Ledger, MountId, NodeId};

use super::{Env, NoSuchSize};
use crate::text::{MountText, MountTextError};

/// Why nothing can be mounted so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountCallError {
    /// An option that a mount does not take.
    #[error(transparent)]
    Text(#[from] MountTextError),
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The mount itself.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl Blame for MountCallError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Text(_) | Self::NoSuchSize(_) => None,
            Self::Mount(error) => error.ledger(),
        }
    }
}

pub(super) fn mount<P: Env>(p: &mut P, options: &MountOptions) -> Result<MountId, MountError> {
    let nodes = p.with_topology(policy::Topology::nodes);
    let local = nodes.next_from(NodeId::new(0)).unwrap_or_default();
    hugetlbfs::mount(p, options, local, nodes)
}

/// Limits become whole pages of the pool, shares of it are taken of what it has now.
pub(super) fn mount_by_text<P: Env>(p: &mut P, text: &str) -> Result<MountId, MountCallError> {
    let text = MountText::parse(text)?;
    let hstate = match text.page_size {
        Some(size) => p.with_hstates(|all| all.by_size(size)).ok_or(NoSuchSize(size.into()))?,
        None => p.with_hstates(Hstates::default_hstate),
    };
    let persistent = p.with_pool(hstate.id, |pool| pool.max());
    let count = |limit: crate::text::MountSize| limit.count_floor(hstate.size, persistent);
    let usual = FileOwner::ROOT_DIRECTORY;
    let root = FileOwner {
        uid: text.uid.unwrap_or(usual.uid),
        gid: text.gid.unwrap_or(usual.gid),
        mode: text.mode.unwrap_or(usual.mode),
    };
    let options = MountOptions {
        hstate: hstate.id,
        max: text.size.map(count),
        min: text.min_size.map(count),
        nr_inodes: text.nr_inodes,
        root,
    };
    Ok(mount(p, &options)?)
}
