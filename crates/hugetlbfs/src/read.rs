//! Reading a file without mapping it.

use alloc::vec::Vec;

use units::{Bytes, InodeId};

use crate::Env;

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is gone.
    #[error("no such file")]
    NoInode,
}

/// Reads up to `len` bytes from `offset`; holes read as zero and allocate nothing. Returns the number of bytes up to the end of
/// the file, and at most `keep` of them.
///
/// # Errors
/// The file is gone.
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
    let n = len.min(size.saturating_sub(offset));
    let mut bytes = Vec::new();
    let mut at = offset;
    while at < offset + n && bytes.len() < keep {
        let index = page.index_floor(at);
        let byte = match p.with_cache(id, |cache| cache.get(index)).flatten() {
            Some(pfn) => p.with_contents(|contents| contents.read(pfn, at - page.offset_of(index))),
            None => 0,
        };
        bytes.push(byte);
        at += Bytes::new(1);
    }
    Ok((n, bytes))
}
