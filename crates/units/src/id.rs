//! Identities of nodes, processors and the objects of the upper rooms.

use core::fmt;

macro_rules! small_id {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Wraps a bare number.
            #[must_use]
            pub const fn new(n: $int) -> Self {
                Self(n)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

small_id!(
    /// A memory node, below [`crate::Nodemask::CAPACITY`].
    #[doc(alias = "nid")]
    NodeId(u8), "node:"
);
small_id!(
    /// A processor.
    CpuId(u32), "cpu:"
);
small_id!(
    /// An hstate: its place in the order of registration.
    #[doc(alias = "hstate_index")]
    HstateId(u8), "hstate:"
);
small_id!(
    /// A virtual memory area, unique for the life of its machine.
    VmaId(u64), "vma:"
);

macro_rules! index {
    ($($name:ident),*) => {$(
        impl $name {
            /// The number as an index into a table.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index!(NodeId, HstateId);

slotmap::new_key_type! {
    /// A block of ordinary pages that somebody holds.
    pub struct BlockId;
    /// An address space. Never names another one after its own is gone.
    pub struct MmId;
    /// A process.
    pub struct Pid;
    /// A file of a hugetlbfs mount, named or not.
    pub struct InodeId;
    /// A hugetlbfs mount.
    pub struct MountId;
    /// The accounting object of a mount with limits.
    pub struct SubpoolId;
    /// A reservation map.
    pub struct ResvMapId;
    /// A control group.
    pub struct CgroupId;
    /// A file of guest memory.
    pub struct GmemId;
    /// A userfaultfd, however many descriptors stand for it.
    pub struct UffdId;
}
