//! What a page table has of pages that are mapped in pieces.

use alloc::vec::Vec;

use units::{Bytes, HugeSize, Pfn, Vaddr, VaddrRange};

use crate::PageTable;
use crate::pieces::{Paging, Piece, PieceState, Pieces};

/// What a base page was taken out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOut {
    /// How many entries mapped the page before.
    pub before: u32,
    /// How many do now.
    pub after: u32,
}

impl PageTable {
    /// The pieces in which the page at `addr` is mapped.
    #[must_use]
    pub fn pieces(&self, addr: Vaddr) -> Option<&Pieces> {
        if self.pieces.is_empty() { None } else { self.pieces.get(&addr) }
    }

    /// The folio that the page at `addr` is mapped as, and by how many entries.
    #[must_use]
    pub fn folio_at(&self, addr: Vaddr) -> Option<(Pfn, u32)> {
        let whole = self.get(addr).map(|entry| (entry.pfn, 1));
        whole.or_else(|| self.pieces(addr).map(|pieces| (pieces.pfn(), pieces.leaves()))).filter(|found| found.1 > 0)
    }

    /// Every page in `range` that is mapped, in order: where, as which folio, by how many entries.
    #[must_use]
    pub fn folios_over(&self, range: VaddrRange) -> Vec<(Vaddr, Pfn, u32)> {
        let mut all: Vec<_> = self.over(range).map(|(addr, entry)| (addr, entry.pfn, 1)).collect();
        if !self.pieces.is_empty() {
            let pieces = self.pieces_over(range).filter(|(_, pieces)| pieces.leaves() > 0);
            all.extend(pieces.map(|(addr, pieces)| (addr, pieces.pfn(), pieces.leaves())));
            all.sort_unstable();
        }
        all
    }

    /// What is at `offset` of the page at `addr`, and how large that is.
    #[must_use]
    pub fn piece_at(&self, addr: Vaddr, size: HugeSize, offset: Bytes) -> Piece {
        if let Some(pieces) = self.pieces(addr) {
            return pieces.at(offset);
        }
        let state = match self.get(addr) {
            Some(entry) => PieceState::Page { writable: entry.writable, uffd_wp: entry.uffd_wp },
            None if self.is_poisoned(addr) => PieceState::Broken,
            None => PieceState::Hole { uffd_wp: self.has_marker(addr) },
        };
        Piece { offset: Bytes::ZERO, size: size.bytes(), state }
    }

    /// Maps a piece of the page at `addr`, which is of the folio `pfn`; how it is mapped then, which a note may have a say in. Nothing where
    /// something is there.
    #[must_use]
    pub fn map_piece(
        &mut self,
        paging: Paging,
        addr: Vaddr,
        pfn: Pfn,
        size: HugeSize,
        piece: Piece,
    ) -> Option<PieceState> {
        if self.entries.contains_key(&addr) || self.poisoned.contains(&addr) {
            return None;
        }
        let state = if let Some(pieces) = self.pieces.get_mut(&addr) {
            pieces.map(piece)?;
            pieces.at(piece.offset).state
        } else {
            let mut pieces = Pieces::new(paging, pfn, size)?;
            let noted = self.markers.contains(&addr);
            // A note of the whole page is one of all its parts.
            if noted {
                pieces.watch_writes();
            }
            pieces.map(piece)?;
            let state = if noted { pieces.at(piece.offset).state } else { piece.state };
            self.markers.remove(&addr);
            self.pieces.insert(addr, pieces);
            state
        };
        self.mapped += piece.size;
        self.reach(addr);
        Some(state)
    }

    /// Lets the piece around `offset` of the page at `addr` be written.
    pub fn make_piece_writable(&mut self, addr: Vaddr, offset: Bytes) {
        if let Some(pieces) = self.pieces.get_mut(&addr) {
            pieces.make_writable(offset);
        }
    }

    /// The base page at `offset` of the page at `addr` broke: it alone is unmapped, and whoever comes there is told. A page that was whole is in
    /// pieces from then on. Nothing where nothing is mapped.
    #[doc(alias = "hugetlb_split_to_shift")]
    pub fn poison_part(&mut self, paging: Paging, addr: Vaddr, offset: Bytes) -> Option<TakenOut> {
        if let Some(entry) = self.get(addr) {
            let mut pieces = Pieces::new(paging, entry.pfn, entry.size)?;
            let state = PieceState::Page { writable: entry.writable, uffd_wp: entry.uffd_wp };
            pieces.map(Piece { offset: Bytes::ZERO, size: entry.size.bytes(), state })?;
            self.take(addr);
            self.put_pieces(addr, pieces);
        }
        let pieces = self.pieces.get_mut(&addr)?;
        let (before, mapped) = (pieces.leaves(), pieces.mapped());
        pieces.poison(offset)?;
        self.mapped -= mapped - pieces.mapped();
        Some(TakenOut { before, after: pieces.leaves() })
    }

    /// Unmaps all pieces of the page at `addr`.
    pub fn take_pieces(&mut self, addr: Vaddr) -> Option<Pieces> {
        let taken = self.pieces.remove(&addr)?;
        self.mapped -= taken.mapped();
        Some(taken)
    }

    /// Unmaps the pieces of all pages in `range`, in order.
    pub fn take_pieces_over(&mut self, range: VaddrRange) -> Vec<(Vaddr, Pieces)> {
        let places: Vec<_> = self.pieces_over(range).map(|(addr, _)| addr).collect();
        places.into_iter().filter_map(|addr| Some((addr, self.take_pieces(addr)?))).collect()
    }

    /// The pages in `range` that are mapped in pieces, in order.
    pub fn pieces_over(&self, range: VaddrRange) -> impl Iterator<Item = (Vaddr, &Pieces)> {
        self.pieces.range(range.start..range.end).map(|(&addr, pieces)| (addr, pieces))
    }

    /// The pieces of the page at `addr` are of the folio `pfn` from now on.
    pub fn move_pieces(&mut self, addr: Vaddr, pfn: Pfn) {
        if let Some(pieces) = self.pieces.get_mut(&addr) {
            pieces.move_to(pfn);
        }
    }

    /// Puts pieces where a page is mapped by nothing.
    pub fn put_pieces(&mut self, addr: Vaddr, pieces: Pieces) {
        debug_assert!(self.folio_at(addr).is_none(), "pieces at {addr}, where there is a page");
        self.reach(addr);
        self.mapped += pieces.mapped();
        self.pieces.insert(addr, pieces);
    }

    /// All pages that are mapped in pieces, in order.
    pub fn iter_pieces(&self) -> impl Iterator<Item = (Vaddr, &Pieces)> {
        self.pieces.iter().map(|(&addr, pieces)| (addr, pieces))
    }
}
