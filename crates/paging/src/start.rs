//! Where a tree of tables begins.

use core::fmt::Debug;

use units::{Bytes, Vaddr};

use crate::arch::Arch;
use crate::level::Level;

/// At which level a tree of tables begins.
pub trait Start: Copy + Debug {
    /// The level of its first table.
    fn level<A: Arch>(self) -> Level;

    /// Is the address one of those that the tree maps?
    fn reaches<A: Arch>(self, addr: Vaddr) -> bool;
}

/// At the top, as a processor wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtTop;

impl Start for AtTop {
    #[inline]
    fn level<A: Arch>(self) -> Level {
        A::TOP
    }

    #[inline]
    fn reaches<A: Arch>(self, _: Vaddr) -> bool {
        true
    }
}

/// Further down: a part of a tree by itself. It maps as much as one table of that level, from address 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLevel(pub Level);

impl Start for AtLevel {
    #[inline]
    fn level<A: Arch>(self) -> Level {
        self.0.min(A::TOP)
    }

    #[inline]
    fn reaches<A: Arch>(self, addr: Vaddr) -> bool {
        Bytes::new(addr.get()) < A::reach(self.level::<A>())
    }
}
