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

    /// The contents of so many parts of memory; `part` says which one a frame lies in.
    #[must_use]
    pub fn take_apart(self, parts: usize, part: impl Fn(Pfn) -> usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..parts).map(|_| Self::new(self.shift)).collect();
        for (at, byte) in self.bytes {
            all[part(Pfn::new(at >> self.shift.get()))].bytes.insert(at, byte);
        }
        all
    }

    /// The contents of all memory, of those of its parts.
    #[must_use]
    pub fn put_together(shift: PageShift, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { shift, bytes: parts.into_iter().flat_map(|part| part.bytes).collect() }
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

    /// What is in a block of `len` bytes, by distance from its start.
    #[must_use]
    pub fn block(&self, folio: Pfn, len: Bytes) -> Vec<(u64, u8)> {
        let from = self.address(folio);
        self.bytes.range(from..from + len.get()).map(|(&at, &byte)| (at - from, byte)).collect()
    }

    /// Makes a block of `len` bytes what [`Contents::block`] said of another one.
    pub fn fill(&mut self, folio: Pfn, len: Bytes, bytes: Vec<(u64, u8)>) {
        self.zero(folio, Bytes::ZERO, len);
        let to = self.address(folio);
        self.bytes.extend(bytes.into_iter().map(|(at, byte)| (to + at, byte)));
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
        contents.fill(b, len, contents.block(a, len));
        assert_eq!((contents.read(b, Bytes::ZERO), contents.read(b, Bytes::kib(4))), (7, 0));
        contents.zero(a, Bytes::ZERO, len);
        assert_eq!((contents.read(a, Bytes::ZERO), contents.read(b, Bytes::ZERO)), (0, 7));
    }
}
