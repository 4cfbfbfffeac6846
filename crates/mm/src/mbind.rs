//! `mbind`: where the pages of a range are to lie.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hugetlb::{Fallback, Target};
use hugetlbfs::Origin;
use page_alloc::Pin;
use policy::{Mempolicy, Mode, PolicyInForce, Wish};
use units::{Access, Blame, Bytes, HugeCount, Ledger, MmId, NodeId, Nodemask, Pfn, Scope, Vaddr, VaddrRange};

use crate::fault::{Place, placement};
use crate::populate::first_hole;
use crate::protect::isolate;
use crate::{Env, Vma, migrate};

/// Whose pages move.
#[doc(alias("MPOL_MF_MOVE", "MPOL_MF_MOVE_ALL"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveScope {
    /// Those that nobody else maps.
    Own,
    /// All.
    All,
}

/// What becomes of pages that lie elsewhere already.
#[doc(alias = "MPOL_MF_STRICT")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay.
    #[default]
    Ignored,
    /// With such a page nothing is done.
    Refused,
    /// They move as far as that goes.
    Moved(MoveScope),
    /// They move, and the call says so if one could not.
    MovedStrictly(MoveScope),
}

/// Why a range has no such policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MbindError {
    /// A start between base pages, or an end beyond all numbers.
    #[error("the range at {0} starts between pages or ends beyond all numbers")]
    BadRange(Vaddr),
    /// None of the policy's nodes has memory that the task may use.
    #[error("none of the policy's nodes is one with memory that the task may use")]
    NoNodes,
    /// Nothing is mapped at a part of the range.
    #[error("nothing is mapped at {0}")]
    Hole(Vaddr),
    /// An area would have to be split inside a huge page.
    #[error("an area cannot be split at {at}, which is inside one of its pages of {page}")]
    SplitsPage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
    /// The policy holds from now on, but pages lie elsewhere that should not.
    #[error("{} pages lie on other nodes", .0.get())]
    Elsewhere(HugeCount),
}

impl Blame for MbindError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoNodes | Self::Elsewhere(_) => Some(Ledger::Node),
            _ => None,
        }
    }
}

/// Why a policy has no home node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HomeNodeError {
    /// A start between base pages, or an end beyond all numbers.
    #[error("the range at {0} starts between pages or ends beyond all numbers")]
    BadRange(Vaddr),
    /// No such node.
    #[error("there is no {0}")]
    NoSuchNode(NodeId),
    /// No area there has a policy of its own.
    #[error("no area of the range has a policy of its own")]
    NoPolicy,
    /// A policy for which it does not matter where it begins.
    #[error("the area at {0} has a policy without a home: only those that bind to nodes or prefer many have one")]
    NoHome(Vaddr),
    /// An area would have to be split inside a huge page.
    #[error("an area cannot be split at {at}, which is inside one of its pages of {page}")]
    SplitsPage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
}

/// Gives a range a policy; a default one leaves it to the task again. Areas are split at its edges.
///
/// # Errors
/// A bad range or policy, or pages elsewhere that are refused: nothing is changed. Areas before an edge inside a page keep what they were
/// given, and so do all where only pages could not be moved.
#[doc(alias("do_mbind", "mbind_range"))]
pub fn mbind<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
    wish: &Wish,
    existing: Existing,
) -> Result<(), MbindError> {
    let range = p.page_range(start, len).ok_or(MbindError::BadRange(start))?;
    if range.is_empty() {
        return Ok(());
    }
    let policy = usable_policy(p, origin, wish).ok_or(MbindError::NoNodes)?;
    let is_default = *policy == Mempolicy::Default;
    let elsewhere = p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let empty = p.with_vmas(mm, |vmas| vmas.over(range).next().is_none()) != Some(false);
        if (empty || !is_default)
            && let Some(hole) = first_hole(p, mm, range)
        {
            return Err(MbindError::Hole(hole));
        }
        let elsewhere = look_elsewhere(p, mm, range, wish.nodes());
        if existing == Existing::Refused && !is_default && !elsewhere.is_empty() {
            return Err(MbindError::Elsewhere(HugeCount::new(elsewhere.len() as u64)));
        }
        for vma in p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default() {
            if has_already(p, mm, &vma, &policy) {
                continue;
            }
            let own = isolate(p, mm, vma.range.intersect(range))
                .map_err(|inside| MbindError::SplitsPage { at: inside.at, page: inside.page })?;
            set_policy(p, mm, own.range.start, &policy);
        }
        Ok(elsewhere.into_iter().map(|(addr, pfn, entries)| (pfn, entries, target(p, mm, addr, origin))).collect())
    })?;
    // Nobody has asked for a place that pages could be missing from.
    let existing = match existing {
        Existing::MovedStrictly(scope) if is_default => Existing::Moved(scope),
        other => other,
    };
    move_elsewhere(p, elsewhere, existing)
}

/// Sets where the policies of a range begin to look.
///
/// # Errors
/// A bad range or node: nothing is changed. Areas before one whose policy has no home keep what they were given.
#[doc(alias = "set_mempolicy_home_node")]
pub fn set_home_node<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes, home: NodeId) -> Result<(), HomeNodeError> {
    let range = p.page_range(start, len).ok_or(HomeNodeError::BadRange(start))?;
    if !p.with_topology(|topology| topology.states().online.contains(home)) {
        return Err(HomeNodeError::NoSuchNode(home));
    }
    if range.is_empty() {
        return Ok(());
    }
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let mut done = Err(HomeNodeError::NoPolicy);
        for vma in p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default() {
            let Some(slot) = vma.policy else { continue };
            let policy = p.with_vmas(mm, |vmas| vmas.policy(slot).and_then(|policy| policy.with_home(home))).flatten();
            let policy = policy.ok_or(HomeNodeError::NoHome(vma.range.start))?;
            done = Ok(());
            if has_already(p, mm, &vma, &policy) {
                continue;
            }
            let own = isolate(p, mm, vma.range.intersect(range))
                .map_err(|inside| HomeNodeError::SplitsPage { at: inside.at, page: inside.page })?;
            set_policy(p, mm, own.range.start, &policy);
        }
        done
    })
}

/// An area that has the policy is left as it is, whole.
fn has_already<P: Env>(p: &mut P, mm: MmId, vma: &Vma, policy: &PolicyInForce) -> bool {
    match vma.policy {
        None => **policy == Mempolicy::Default,
        Some(slot) => {
            p.with_vmas(mm, |vmas| vmas.policy(slot).is_some_and(|old| old.means_the_same(policy))) == Some(true)
        }
    }
}

fn set_policy<P: Env>(p: &mut P, mm: MmId, start: Vaddr, policy: &PolicyInForce) {
    p.with_vmas(mm, |vmas| {
        let slot = (**policy != Mempolicy::Default).then(|| vmas.add_policy(policy));
        vmas.update(start, |vma| vma.policy = slot);
    });
}

/// What a wish is for a task; nothing if none of the nodes that it needs has memory that the task may use.
#[doc(alias("mpol_set_nodemask", "mpol_new"))]
pub fn usable_policy<P: Env>(p: &mut P, origin: &Origin, wish: &Wish) -> Option<PolicyInForce> {
    let with_memory = p.with_topology(policy::Topology::nodes);
    PolicyInForce::new(wish, origin.allowed, with_memory)
}

/// Every page of a range that lies on none of the nodes.
#[doc(alias("queue_pages_range", "queue_folios_hugetlb"))]
fn look_elsewhere<P: Env>(p: &mut P, mm: MmId, range: VaddrRange, wanted: Nodemask) -> Vec<(Vaddr, Pfn, u32)> {
    let mapped = p.with_table(mm, |table| table.folios_over(range)).unwrap_or_default();
    let lies_elsewhere = |p: &mut P, pfn| hugetlb::folio_at(p, pfn).is_some_and(|folio| !wanted.contains(folio.node));
    mapped.into_iter().filter(|&(_, pfn, _)| lies_elsewhere(p, pfn)).collect()
}

fn target<P: Env>(p: &mut P, mm: MmId, addr: Vaddr, origin: &Origin) -> Target {
    let vma = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten().expect("an entry lies inside an area");
    let place = Place { mm, vma, addr, index: vma.index_of(addr), origin, pin: Pin::Short };
    let mut placement = placement(p, &place);
    // What moves has no second choice.
    if placement.mode == Mode::PreferredMany {
        placement.mode = Mode::Bind;
    }
    Target { placement, allowed: origin.allowed, fallback: Fallback::Permitted, pin: Pin::Short }
}

fn move_elsewhere<P: Env>(p: &mut P, elsewhere: Vec<(Pfn, u32, Target)>, existing: Existing) -> Result<(), MbindError> {
    let (Existing::Moved(scope) | Existing::MovedStrictly(scope)) = existing else { return Ok(()) };
    let (mut stay, mut taken) = (HugeCount::ZERO, BTreeSet::new());
    for (pfn, entries, target) in elsewhere {
        // A page that others map too is left to them, and that is no failure.
        let shared = p.with_memmap(pfn, |map| map.get(pfn).is_some_and(|folio| folio.mapcount() > entries));
        let moves = scope == MoveScope::All || !shared;
        // As on Linux: a page that is mapped twice is found twice, and cannot be moved a second time.
        if moves && (!taken.insert(pfn) || migrate(p, pfn, &target).is_err()) {
            stay += HugeCount::new(1);
        }
    }
    let strictly = matches!(existing, Existing::MovedStrictly(_));
    if strictly && !stay.is_zero() { Err(MbindError::Elsewhere(stay)) } else { Ok(()) }
}
