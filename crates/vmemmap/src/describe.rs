//! What a reader may ask a descriptor.

use policy::ZoneRef;
use units::{Order, Pfn};

use crate::state::Vmemmap;
use crate::tails::TailKey;

/// The descriptor of a frame, by what it can be trusted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// It is this frame's alone: everything can be read from it and written to it. It lives in the frame `home`.
    Own {
        /// The frame that holds it.
        home: Pfn,
    },
    /// It is read by many and written by nobody.
    Shared(SharedTail),
}

/// A descriptor that many frames share. It says what is the same for all of them; who wants to know or to note more of a frame asks the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedTail {
    head: Pfn,
    home: Pfn,
    key: TailKey,
}

impl SharedTail {
    /// The first frame of the block, which has a descriptor of its own.
    #[doc(alias = "compound_head")]
    #[must_use]
    pub const fn head(self) -> Pfn {
        self.head
    }

    /// The zone, and with it the node.
    #[doc(alias("page_zone", "page_to_nid"))]
    #[must_use]
    pub const fn zone(self) -> ZoneRef {
        self.key.zone()
    }

    /// The size of the block.
    #[must_use]
    pub const fn order(self) -> Order {
        self.key.order
    }

    /// The frame that holds it.
    #[must_use]
    pub const fn home(self) -> Pfn {
        self.home
    }
}

impl Vmemmap {
    /// The descriptor of a frame; nothing where there is no memory.
    #[doc(alias = "pfn_to_page")]
    #[must_use]
    pub fn descriptor(&self, pfn: Pfn) -> Option<Descriptor> {
        if let Some((home, _)) = self.homes.get(self.geometry.page_of(pfn)) {
            return Some(Descriptor::Own { home });
        }
        let (head, key) = self.optimised_around(pfn)?;
        let home = self.tails.get(key)?.frame;
        Some(Descriptor::Shared(SharedTail { head, home, key }))
    }
}
