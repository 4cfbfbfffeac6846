//! Reading a file without mapping it.

use alloc::vec::Vec;

use units::{Bytes, HstateId, HugeIndex, HugeRange, InodeId, PageCount};

use crate::Env;

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is gone.
    #[error("no such file")]
    NoInode,
    /// The memory of the first byte is broken.
    #[error("the page at {0} has broken memory")]
    Poisoned(Bytes),
}

/// Reads up to `len` bytes from `offset`; holes read as zero and allocate nothing. Returns the number of bytes up to the end of
/// the file or the first broken page, and at most `keep` of them.
///
/// # Errors
/// The file is gone, or its memory is broken at `offset` already.
#[doc(alias = "hugetlbfs_read_iter")]
pub fn read<P: Env>(
    p: &mut P,
    id: InodeId,
    offset: Bytes,
    len: Bytes,
    keep: usize,
) -> Result<(Bytes, Vec<u8>), ReadError> {
    let (size, hstate) = p.with_inode(id, |inode| (inode.size, inode.hstate)).ok_or(ReadError::NoInode)?;
    let page = p.hstate(hstate).size;
    let end = offset + len.min(size.saturating_sub(offset));
    let sound = first_broken(p, id, hstate, offset, end).unwrap_or(end);
    if sound == offset && end > offset {
        return Err(ReadError::Poisoned(offset));
    }
    let n = sound - offset;
    let mut bytes = Vec::new();
    let mut at = offset;
    while at < offset + n && bytes.len() < keep {
        let index = page.index_floor(at);
        let byte = match p.with_cache(id, |cache| cache.get(index)).flatten() {
            Some(pfn) => p.with_contents(pfn, |contents| contents.read(pfn, at - page.offset_of(index))),
            None => 0,
        };
        bytes.push(byte);
        at += Bytes::new(1);
    }
    Ok((n, bytes))
}

/// Where the first broken base page of a part of a file begins, or the part itself if that is inside the page.
#[doc(alias = "adjust_range_hwpoison")]
fn first_broken<P: Env>(p: &mut P, id: InodeId, hstate: HstateId, from: Bytes, end: Bytes) -> Option<Bytes> {
    let h = p.hstate(hstate);
    let base = h.size.bytes().get() >> h.order.get();
    // Only pages that are there: a file may be as long as can be said.
    let mut rest = HugeRange::new(h.size.index_floor(from), h.size.index_ceil(end));
    while let Some((index, pfn)) =
        p.with_cache(id, |cache| cache.first_in(rest).and_then(|i| Some((i, cache.get(i)?)))).flatten()
    {
        let start = h.size.offset_of(index);
        let at = start.max(from);
        if let Some(folio) = hugetlb::folio_at(p, pfn) {
            let frame = folio.pfn.offset(PageCount::new((at - start).get() / base));
            let broken = p.with_records(folio.at(), |records| records.first_broken(folio, frame));
            if let Some(broken) = broken {
                let offset = start + Bytes::new((broken.get() - folio.pfn.get()) * base);
                return Some(offset.max(from)).filter(|&offset| offset < end);
            }
        }
        rest.start = HugeIndex::new(index.get() + 1);
    }
    None
}
