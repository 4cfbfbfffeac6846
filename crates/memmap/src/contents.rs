//! Page contents, as far as anybody can tell them apart.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use units::{Bytes, PageShift, Pfn};

/// The bytes of all frames, sparse: only bytes that are not zero are kept.
#[derive(Clone, Debug)]
pub struct Contents {
    shift: PageShift,
    bytes: BTreeMap<u64, u8>,
}

impl Contents {
    /// All of memory, zero.
    #[must_use]
    pub const fn new(shift: PageShift) -> Self {
        Self { shift, bytes: BTreeMap::new() }
    }

    /// Memory with these bytes, by address, and zero everywhere else.
    #[must_use]
    pub fn from_bytes(shift: PageShift, bytes: impl IntoIterator<Item = (u64, u8)>) -> Self {
        Self { shift, bytes: bytes.into_iter().filter(|&(_, byte)| byte != 0).collect() }
    }

    /// All bytes that are not zero, by address.
    pub fn bytes(&self) -> impl Iterator<Item = (u64, u8)> {
        self.bytes.iter().map(|(&at, &byte)| (at, byte))
    }

    /// The byte `offset` bytes into the block that starts at `folio`.
    #[must_use]
    pub fn read(&self, folio: Pfn, offset: Bytes) -> u8 {
        self.bytes.get(&(self.address(folio) + offset.get())).copied().unwrap_or(0)
    }

    /// Stores one byte.
    pub fn write(&mut self, folio: Pfn, offset: Bytes, value: u8) {
        let at = self.address(folio) + offset.get();
        if value == 0 {
            self.bytes.remove(&at);
        } else {
            self.bytes.insert(at, value);
        }
    }

    /// Clears `len` bytes from `offset` on.
    #[doc(alias("folio_zero_user", "clear_huge_page"))]
    pub fn zero(&mut self, folio: Pfn, offset: Bytes, len: Bytes) {
        let from = self.address(folio) + offset.get();
        while let Some((&at, _)) = self.bytes.range(from..from + len.get()).next() {
            self.bytes.remove(&at);
        }
    }

    /// Copies a block of `len` bytes over another one.
    #[doc(alias("copy_user_large_folio", "copy_user_huge_page"))]
    pub fn copy(&mut self, from: Pfn, to: Pfn, len: Bytes) {
        self.zero(to, Bytes::ZERO, len);
        let (from, to) = (self.address(from), self.address(to));
        let copied: Vec<(u64, u8)> =
            self.bytes.range(from..from + len.get()).map(|(&at, &byte)| (at - from + to, byte)).collect();
        self.bytes.extend(copied);
    }

    const fn address(&self, folio: Pfn) -> u64 {
        folio.get() << self.shift.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_replaces_and_a_zero_ends_where_it_should() {
        let mut contents = Contents::new(PageShift::K4);
        let (a, b, len) = (Pfn::new(0), Pfn::new(512), Bytes::mib(2));
        contents.write(a, Bytes::ZERO, 7);
        contents.write(b, Bytes::kib(4), 9);
        contents.copy(a, b, len);
        assert_eq!((contents.read(b, Bytes::ZERO), contents.read(b, Bytes::kib(4))), (7, 0));
        contents.zero(a, Bytes::ZERO, len);
        assert_eq!((contents.read(a, Bytes::ZERO), contents.read(b, Bytes::ZERO)), (0, 7));
    }
}
