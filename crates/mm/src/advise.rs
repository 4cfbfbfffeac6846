//! `madvise`.

use filemap::Markers;
use hugetlbfs::{FallocateError, Origin};
use units::{Access, Blame, Bytes, Ledger, MmId, Scope, Vaddr, VaddrRange};

use crate::populate::{Progress, populate_with};
use crate::protect::isolate;
use crate::rmap::in_tables;
use crate::unmap::unmap_area_range;
use crate::{CollapseRule, Entry, Env, Pieces, PopulateError, Prot, Touch, Vma, VmaFlags};

/// What a task says about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Will be needed, may be merged, kept on fork: accepted without effect on huge pages.
    NoEffect,
    /// Sets and clears flags of the area, which may split it.
    Flags {
        /// The flags it decides about.
        among: VmaFlags,
        /// Which of them are set from now on.
        set: VmaFlags,
    },
    /// The contents are not needed any more.
    DontNeed,
    /// The file's pages may go.
    Remove,
    /// Touch every page, reading.
    PopulateRead,
    /// Touch every page, writing.
    PopulateWrite,
    /// Pages may be mapped in pieces from now on.
    #[doc(alias = "MADV_SPLIT")]
    Split,
    /// What is mapped in pieces is to be mapped as a whole again.
    #[doc(alias = "MADV_COLLAPSE")]
    Collapse,
    /// Advice that huge pages refuse: free, cold, page out, wipe on fork.
    Refused,
    /// Advice that nobody knows.
    Unknown,
}

impl Advice {
    /// Used in no particular order and way.
    pub const NORMAL: Self = Self::order(VmaFlags::empty());
    /// Used in random order.
    pub const RANDOM: Self = Self::order(VmaFlags::RANDOM);
    /// Used in order.
    pub const SEQUENTIAL: Self = Self::order(VmaFlags::SEQUENTIAL);
    /// Children do not get it.
    pub const DONT_FORK: Self = Self::Flags { among: VmaFlags::DONT_FORK, set: VmaFlags::DONT_FORK };
    /// Children get it (again).
    pub const DO_FORK: Self = Self::Flags { among: VmaFlags::DONT_FORK, set: VmaFlags::empty() };
    /// Not in core dumps.
    pub const DONT_DUMP: Self = Self::Flags { among: VmaFlags::DONT_DUMP, set: VmaFlags::DONT_DUMP };
    /// In core dumps (again).
    pub const DO_DUMP: Self = Self::Flags { among: VmaFlags::DONT_DUMP, set: VmaFlags::empty() };
    /// Huge pages wished for.
    pub const HUGE_PAGE: Self = Self::Flags { among: VmaFlags::HUGE.union(VmaFlags::NO_HUGE), set: VmaFlags::HUGE };
    /// Huge pages not wished for.
    pub const NO_HUGE_PAGE: Self =
        Self::Flags { among: VmaFlags::HUGE.union(VmaFlags::NO_HUGE), set: VmaFlags::NO_HUGE };

    const fn order(set: VmaFlags) -> Self {
        Self::Flags { among: VmaFlags::RANDOM.union(VmaFlags::SEQUENTIAL), set }
    }
}

/// Why advice was not followed; what was done before stays done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdviseError {
    /// A start between base pages, or a range whose end is beyond all numbers.
    #[error("the range at {0} starts between pages or has an end beyond all numbers")]
    BadRange(Vaddr),
    /// Huge pages do not take this advice.
    #[error("huge pages do not take this advice")]
    NotForHugePages,
    /// An edge inside a huge page.
    #[error("{0} is inside a huge page")]
    InsidePage(Vaddr),
    /// The page cannot be one entry again: a part of it has broken memory. Pages before it are.
    #[error("the page at {0} has broken memory, and stays in pieces")]
    Broken(Vaddr),
    /// Nothing is mapped at a part of the range; the rest was done.
    #[error("nothing is mapped at a part of the range")]
    Hole,
    /// The pages of a private or read-only mapping cannot be removed.
    #[error("only pages of a shared mapping that may be written can be removed")]
    NotRemovable,
    /// The hole cannot be punched.
    #[error(transparent)]
    Punch(#[from] FallocateError),
    /// A page cannot be had.
    #[error(transparent)]
    Populate(#[from] PopulateError),
}

impl Blame for AdviseError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Punch(error) => error.ledger(),
            Self::Populate(error) => error.ledger(),
            _ => None,
        }
    }
}

/// Follows advice about a range, area after area. Holes are skipped and reported at the end.
///
/// # Errors
/// The first area that refused, or that there were holes.
#[doc(alias = "do_madvise")]
pub fn madvise<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
    advice: Advice,
) -> Result<(), AdviseError> {
    if advice == Advice::Unknown {
        return Err(AdviseError::NotForHugePages);
    }
    let range = p.page_range(start, len).ok_or(AdviseError::BadRange(start))?;
    if range.is_empty() {
        return Ok(());
    }
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        match advice {
            // What may only be written is readable to its process, but not to this call.
            Advice::PopulateRead => {
                let touch = |vma: &Vma| vma.prot.contains(Prot::READ).then_some(Touch::Read);
                return Ok(populate_with(p, mm, origin, range, Progress::InCall, touch)?);
            }
            Advice::PopulateWrite => {
                return Ok(populate_with(p, mm, origin, range, Progress::InCall, |_| Some(Touch::Write))?);
            }
            _ => (),
        }
        let mut at = range.start;
        let mut holes = false;
        for vma in p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default() {
            let piece = vma.range.intersect(range);
            holes |= at < piece.start;
            advise_piece(p, mm, &vma, piece, advice)?;
            at = piece.end;
        }
        if holes || at < range.end { Err(AdviseError::Hole) } else { Ok(()) }
    })
}

/// `piece` lies inside `vma`.
fn advise_piece<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange, advice: Advice) -> Result<(), AdviseError> {
    match advice {
        Advice::DontNeed => dont_need(p, mm, vma, piece),
        Advice::Remove => remove(p, vma, piece),
        Advice::Split => split(p, mm, vma, piece),
        Advice::Collapse => collapse(p, mm, vma, piece),
        Advice::Flags { among, set } => set_flags(p, mm, vma, piece, (vma.flags - among) | set),
        Advice::NoEffect | Advice::PopulateRead | Advice::PopulateWrite => Ok(()),
        Advice::Refused | Advice::Unknown => Err(AdviseError::NotForHugePages),
    }
}

/// The start must be that of a huge page; the end is rounded down.
fn dont_need<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange) -> Result<(), AdviseError> {
    if !piece.start.is_aligned(vma.size.bytes()) {
        return Err(AdviseError::InsidePage(piece.start));
    }
    let whole = VaddrRange::new(piece.start, piece.end.align_down(vma.size.bytes()));
    let area = vma.as_mapped(mm);
    p.scope(Scope::FileMapping(vma.inode, Access::Write), |p| {
        unmap_area_range(p, &area, vma.pages_in(whole), Markers::Keep);
    });
    Ok(())
}

fn remove<P: Env>(p: &mut P, vma: &Vma, piece: VaddrRange) -> Result<(), AdviseError> {
    if !vma.is_shared() || !vma.flags.contains(VmaFlags::MAY_WRITE) {
        return Err(AdviseError::NotRemovable);
    }
    let offset = vma.size.offset_of(vma.first) + piece.start.since(vma.range.start);
    Ok(hugetlbfs::punch_hole(p, vma.inode, offset, piece.len())?)
}

/// Only pages that are shared and of a size with parts.
fn split<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange) -> Result<(), AdviseError> {
    if !vma.is_shared() || !Pieces::can_divide(vma.size, p.paging()) {
        return Err(AdviseError::NotForHugePages);
    }
    whole_pages(vma, piece)?;
    set_flags(p, mm, vma, piece, vma.flags | VmaFlags::PIECES)
}

/// Each page that is mapped in pieces is mapped by one entry, which keeps one of their references; holes are mapped too. What is mapped by
/// nothing stays so, and so does a page with broken memory.
#[doc(alias = "hugetlb_collapse")]
fn collapse<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange) -> Result<(), AdviseError> {
    let rule = p.behaviour().collapse;
    if !vma.flags.contains(VmaFlags::PIECES) {
        let passes = rule != CollapseRule::Released && vma.is_shared();
        return if passes { Ok(()) } else { Err(AdviseError::NotForHugePages) };
    }
    whole_pages(vma, piece)?;
    in_tables(p, vma.inode, |p| {
        let found = p.with_table(mm, |table| {
            table.pieces_over(piece).map(|(addr, pieces)| (addr, pieces.broken() > 0)).collect::<alloc::vec::Vec<_>>()
        });
        for (addr, broken) in found.unwrap_or_default() {
            match (broken, rule) {
                (false, _) => make_whole(p, mm, vma, addr),
                (true, CollapseRule::First) => return Err(AdviseError::Broken(addr)),
                (true, CollapseRule::Released | CollapseRule::Second) => {}
            }
        }
        Ok(())
    })
}

/// One entry in place of the pieces at `addr`.
fn make_whole<P: Env>(p: &mut P, mm: MmId, vma: &Vma, addr: Vaddr) {
    let writable = vma.prot.contains(Prot::WRITE);
    let taken = p.with_table(mm, |table| {
        let pieces = table.take_pieces(addr)?;
        table.set(addr, Entry { pfn: pieces.pfn(), writable, uffd_wp: false, dirty: true, size: vma.size });
        Some((pieces.pfn(), pieces.leaves().saturating_sub(1)))
    });
    let Some((pfn, surplus)) = taken.flatten() else { return };
    p.with_memmap(pfn, |map| {
        (0..surplus).for_each(|_| _ = map.remove_mapping(pfn));
        if writable {
            map.mark_written(pfn);
        }
    });
    if surplus > 0 {
        hugetlb::put_folio(p, pfn, surplus.into());
    }
}

fn whole_pages(vma: &Vma, piece: VaddrRange) -> Result<(), AdviseError> {
    let inside = [piece.start, piece.end].into_iter().find(|edge| !edge.is_aligned(vma.size.bytes()));
    inside.map_or(Ok(()), |edge| Err(AdviseError::InsidePage(edge)))
}

/// An area that has the flags already is not split.
fn set_flags<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange, flags: VmaFlags) -> Result<(), AdviseError> {
    if vma.flags == flags {
        return Ok(());
    }
    let own = isolate(p, mm, piece).map_err(|inside| AdviseError::InsidePage(inside.at))?;
    p.with_vmas(mm, |vmas| vmas.update(own.range.start, |vma| vma.flags = flags));
    Ok(())
}
