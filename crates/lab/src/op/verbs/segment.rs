//! System V segments.

use crate::op::amount::Size;
use crate::op::flag::{AttachFlag, Flags, SegmentFlag};
use crate::op::name::{MapName, SegmentName};
use crate::op::table::verbs;
use crate::op::word::SizeName;

verbs! {
    about Segment

    /// Makes a System V segment of huge pages.
    Shmget = "shmget" by actor {
        /// The name that the segment gets.
        segment: SegmentName ["s"];
        /// Its length.
        len: Size ["len"];
        /// How it is made.
        flags: Flags<SegmentFlag> ["flags"] or Flags::NONE;
        /// Its page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Maps a segment.
    Shmat = "shmat" by actor {
        /// The segment.
        segment: SegmentName ["s"];
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// How it is mapped.
        flags: Option<Flags<AttachFlag>> ["flags"];
        /// The segment's page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Unmaps a segment.
    Shmdt = "shmdt" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Removes a segment; it goes when its last mapping goes.
    Shmrm = "shmrm" by actor {
        /// The segment.
        segment: SegmentName ["s"];
    }
}
