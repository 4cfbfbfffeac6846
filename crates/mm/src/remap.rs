//! Moving and shrinking mappings.

use units::{Access, Bytes, Event, MmId, Scope, Site, Vaddr, VaddrRange};

use crate::unmap::{InsidePage, can_split, drop_empty_tables, split_at, unmap_range};
use crate::{Env, Vma, VmaFlags};

bitflags::bitflags! {
    /// How a mapping is to be remapped.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RemapFlags: u8 {
        /// It may move.
        const MAY_MOVE = 1 << 0;
        /// It must move to the given address; what lies there goes first.
        const FIXED = 1 << 1;
        /// The old range stays mapped.
        const DONT_UNMAP = 1 << 2;
    }
}

/// A mapping to be moved or shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemapRequest {
    /// Where it is.
    pub from: Vaddr,
    /// How long it is.
    pub old_len: Bytes,
    /// How long it is to be.
    pub new_len: Bytes,
    /// How.
    pub flags: RemapFlags,
    /// Where to, with [`RemapFlags::FIXED`].
    pub to: Vaddr,
}

/// Why a mapping cannot be moved or shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MremapError {
    /// Flags that do not go together, no length, or a length or address that cannot be.
    #[error("these flags, lengths and addresses do not go together")]
    BadArguments,
    /// Huge pages do not stay behind.
    #[error("a mapping of huge pages cannot stay mapped where it was")]
    DontUnmap,
    /// Nothing is mapped at the start.
    #[error("nothing is mapped at {0}")]
    NoArea(Vaddr),
    /// An address inside a huge page.
    #[error("{at} is not a multiple of the page size, {page}")]
    Misaligned {
        /// The address.
        at: Vaddr,
        /// The page size.
        page: Bytes,
    },
    /// A promise cannot be extended, so a mapping cannot grow.
    #[error("a mapping of huge pages cannot grow")]
    Grows,
    /// The range runs past its area in a way that cannot be moved.
    #[error("the range runs past the area at {0}")]
    PastArea(Vaddr),
    /// A userfaultfd watches an area that is not the whole of the range. Areas before it have moved.
    #[error("the area at {0} is watched by a userfaultfd and can only move alone")]
    WatchedAmongSeveral(Vaddr),
    /// No memory for the page table of the new place.
    #[error("no page for the page table")]
    NoTablePage,
}

/// Moves or shrinks a mapping; returns where it is then. A range of several areas moves area by area, each keeping its place
/// in the range; what lies under a hole of the range stays. What moves and changes its length must keep to one area, and so must
/// what a userfaultfd watches; lengths that differ by a base page differ, though they round to the same huge pages.
///
/// # Errors
/// What cannot be; nothing is changed unless the error says so.
#[doc(alias("move_vma", "move_hugetlb_page_tables"))]
pub fn mremap<P: Env>(p: &mut P, mm: MmId, request: &RemapRequest) -> Result<Vaddr, MremapError> {
    let RemapRequest { from, flags, to, .. } = *request;
    check_arguments(p, request)?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let found = p.with_vmas(mm, |vmas| vmas.find(from).copied()).flatten();
        let vma = found.ok_or(MremapError::NoArea(from))?;
        let page = vma.size.bytes();
        let fixed = flags.contains(RemapFlags::FIXED);
        let before = p.page_range(from, request.old_len).ok_or(MremapError::BadArguments)?;
        let resizes = Some(before) != p.page_range(from, request.new_len);
        if fixed && !resizes && vma.uffd.is_some() && before.end > vma.range.end {
            return Err(MremapError::WatchedAmongSeveral(vma.range.start));
        }
        for at in core::iter::once(from).chain(fixed.then_some(to)) {
            if !at.is_aligned(page) {
                return Err(MremapError::Misaligned { at, page });
            }
        }
        let old_len = request.old_len.round_up(page).ok_or(MremapError::BadArguments)?;
        let new_len = request.new_len.round_up(page).ok_or(MremapError::BadArguments)?;
        if old_len.is_zero() || new_len > old_len {
            return Err(MremapError::Grows);
        }
        if flags.contains(RemapFlags::DONT_UNMAP) {
            return Err(MremapError::DontUnmap);
        }
        let old = p.page_range(from, old_len).ok_or(MremapError::BadArguments)?;
        if !fixed {
            unmap_range(p, mm, VaddrRange::new(from + new_len, old.end)).map_err(misaligned)?;
            return Ok(from);
        }
        let new = p.checked_range(to, new_len).ok_or(MremapError::BadArguments)?;
        if resizes && from + new_len > vma.range.end {
            return Err(MremapError::PastArea(vma.range.end));
        }
        move_to(p, mm, old, new)
    })
}

/// What can be told without looking at the address space.
fn check_arguments<P: Env>(p: &mut P, request: &RemapRequest) -> Result<(), MremapError> {
    let RemapRequest { from, old_len, new_len, flags, to } = *request;
    let moves = flags.contains(RemapFlags::MAY_MOVE);
    if flags.intersects(RemapFlags::FIXED | RemapFlags::DONT_UNMAP) && !moves {
        return Err(MremapError::BadArguments);
    }
    if flags.contains(RemapFlags::DONT_UNMAP) && old_len != new_len {
        return Err(MremapError::BadArguments);
    }
    let longest = p.task_size().since(Vaddr::new(0));
    if new_len.is_zero() || new_len > longest || old_len > longest {
        return Err(MremapError::BadArguments);
    }
    let old = p.page_range(from, old_len).ok_or(MremapError::BadArguments)?;
    if flags.contains(RemapFlags::FIXED) {
        let new = p.checked_range(to, new_len).ok_or(MremapError::BadArguments)?;
        if old.overlaps(new) {
            return Err(MremapError::BadArguments);
        }
    }
    Ok(())
}

/// Area by area: its part of the target is cleared first, then the tail of a range that shrinks, then it moves.
fn move_to<P: Env>(p: &mut P, mm: MmId, old: VaddrRange, new: VaddrRange) -> Result<Vaddr, MremapError> {
    for edge in [old.start, old.end, new.start, new.end] {
        can_split(p, mm, edge).map_err(misaligned)?;
    }
    let moved = VaddrRange::new(old.start, old.start + new.len());
    // The tables of the new place, of which there are as many as the old one has.
    let any = p.with_table(mm, |table| !table.parts_over(moved).is_empty()) == Some(true);
    if any && p.refused(Site::TablePage) {
        return Err(MremapError::NoTablePage);
    }
    for vma in p.with_vmas(mm, |vmas| vmas.copy_over(moved)).unwrap_or_default() {
        let alone = vma.range.start <= moved.start && moved.end <= vma.range.end;
        if vma.uffd.is_some() && !alone {
            return Err(MremapError::WatchedAmongSeveral(vma.range.start));
        }
        let piece = vma.range.intersect(moved);
        let to = new.start + piece.start.since(old.start);
        unmap_range(p, mm, VaddrRange::new(to, to + piece.len())).map_err(misaligned)?;
        if alone {
            unmap_range(p, mm, VaddrRange::new(moved.end, old.end)).map_err(misaligned)?;
        }
        move_piece(p, mm, piece, to);
    }
    drop_empty_tables(p, mm, old);
    Ok(new.start)
}

/// Moves a part of an area, or all of it. The tail of a range that shrinks may have been cut off since somebody looked.
fn move_piece<P: Env>(p: &mut P, mm: MmId, piece: VaddrRange, to: Vaddr) {
    let area = |p: &mut P| p.with_vmas(mm, |vmas| vmas.find(piece.start).copied()).flatten();
    if let Some(vma) = area(p).filter(|vma| vma.range != piece) {
        leave_rest_behind(p, mm, &vma, piece);
    }
    if let Some(vma) = area(p) {
        move_area(p, mm, &vma, to);
    }
}

/// Cuts the part of `vma` that moves out of it. The rest keeps its reservations, and forgets that pages were taken from it.
fn leave_rest_behind<P: Env>(p: &mut P, mm: MmId, vma: &Vma, moved: VaddrRange) {
    let (part, whole) = (vma.pages_in(moved), vma.pages());
    if let Some(map) = vma.owner {
        p.emit(|| Event::OwnerMovedPart { hstate: vma.hstate, map, part, whole });
    }
    split_at(p, mm, moved.start.max(vma.range.start));
    split_at(p, mm, moved.end.min(vma.range.end));
    p.with_vmas(mm, |vmas| {
        for piece in vmas.copy_over(vma.range) {
            if !moved.overlaps(piece.range) {
                vmas.update(piece.range.start, |rest| rest.flags -= VmaFlags::UNMAPPED);
            }
        }
    });
}

/// Moves a whole area with its page table; its reservations move along, because the map is the area's own. Whoever watched
/// it was not asked to be told of moves, and watches it no more.
fn move_area<P: Env>(p: &mut P, mm: MmId, vma: &Vma, to: Vaddr) {
    let mut moved = *vma;
    // To its file it is an area that was mapped just now: truncation meets the areas of a page in that order.
    moved.id = p.new_vma_id();
    moved.range = VaddrRange::new(to, to + vma.range.len());
    moved.uffd = None;
    p.scope(Scope::VmaLock(vma.inode, Access::Write), |p| {
        p.scope(Scope::FileMapping(vma.inode, Access::Write), |p| {
            p.with_mappings(vma.inode, |m| {
                m.remove(vma.first, vma.id);
                m.insert(moved.as_mapped(mm));
            });
            p.with_vmas(mm, |vmas| {
                vmas.remove(vma.range.start);
                vmas.insert(moved);
            });
            p.with_table(mm, |table| {
                if vma.uffd.is_some() {
                    table.unwatch_writes(vma.range);
                }
                for (addr, entry) in table.take_range(vma.range) {
                    table.set(to + addr.since(vma.range.start), entry);
                }
                for (addr, pieces) in table.take_pieces_over(vma.range) {
                    table.put_pieces(to + addr.since(vma.range.start), pieces);
                }
                for addr in table.drop_poison(vma.range) {
                    table.poison(to + addr.since(vma.range.start));
                }
                for addr in table.drop_markers(vma.range) {
                    table.leave_marker(to + addr.since(vma.range.start));
                }
            });
        });
    });
}

fn misaligned(inside: InsidePage) -> MremapError {
    MremapError::Misaligned { at: inside.at, page: inside.page }
}
